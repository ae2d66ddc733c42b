"""A stack of seeds in training: their networks, and all else that follows each seed.

What an optimizer or an intervention remembers from step to step stands in one place,
so that it goes wherever the weights go: into a checkpoint and out of it, into another
order of the stack, out of it with a seed that diverged, and, where it has the shape of
the weights, into the pixels' own order for the time of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from trainables.network import Network


@dataclass
class Memory:
    """What S seeds remember besides their weights.

    Attributes:
        moments: Averages of the gradient (momentum, Adam's two): where a weight is
            drawn anew, they begin anew too.
        kept: Other numbers of the weights' shapes.
        marks: Anything else, with a leading axis of S.
    """

    moments: dict[str, Network] = field(default_factory=dict)
    kept: dict[str, Network] = field(default_factory=dict)
    marks: dict[str, Tensor] = field(default_factory=dict)

    def named(self) -> dict[str, Tensor]:
        """Return all tensors by name, as moments/velocity/0."""
        found = {
            f"{kind}/{name}/{i}": tensor
            for kind, networks in (("moments", self.moments), ("kept", self.kept))
            for name, network in networks.items()
            for i, tensor in enumerate(network.tensors())
        }
        return found | {f"marks/{name}": mark for name, mark in self.marks.items()}

    def part(self, start: int, stop: int) -> Memory:
        """Return that of the seeds from start to before stop, as views."""
        return self._map(lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Memory:
        """Return copies of that of the seeds at these positions, in this order."""
        return self._map(lambda tensor: tensor[list(positions)])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Memory:
        return Memory(
            {name: network.map(change) for name, network in self.moments.items()},
            {name: network.map(change) for name, network in self.kept.items()},
            {name: change(mark) for name, mark in self.marks.items()},
        )

    def reorder(self, positions: Sequence[int]) -> None:
        """Permute the seeds in place: the i-th becomes what positions[i] was."""
        for tensor in self.named().values():
            tensor.copy_(tensor[list(positions)])

    def take_inputs(self, inputs: Tensor) -> None:
        """Permute the first layers' inputs in place, as `Network.take_inputs` does."""
        for network in (*self.moments.values(), *self.kept.values()):
            network.take_inputs(inputs)

    def forget(self) -> None:
        """Set everything to 0."""
        for tensor in self.named().values():
            tensor.zero_()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `named` gave.

        Raises:
            ValueError: These are not the tensors of such a memory.
        """
        mine = self.named()
        shapes, theirs = (
            {name: tensor.shape for name, tensor in held.items()}
            for held in (mine, tensors)
        )
        if shapes != theirs:
            raise ValueError("what the seeds remember is another setting's")
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])


@dataclass(frozen=True, eq=False)
class Stack:
    """Some seeds side by side, as an intervention sees them.

    Attributes:
        seeds: In the order of the stack.
        task: The task that they are at, from 0.
        network: Their networks.
        memory: What they remember.
    """

    seeds: Sequence[int]
    task: int
    network: Network
    memory: Memory
