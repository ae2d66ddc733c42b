"""A stack of seeds in training: their networks and everything that follows each seed.

What an optimizer or an intervention remembers between steps stands in one `Memory`, so
that it goes wherever the weights go: into checkpoints, out of the stack with a seed
that diverged, and into another order of seeds or of input pixels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from trainables.network import Network
from trainables.problems import Task


@dataclass
class Memory:
    """What S seeds remember besides their weights.

    Moments are averages of the gradient (momentum, Adam's two): where a weight is drawn
    anew, its moments start anew too.
    """

    moments: dict[str, Network] = field(default_factory=dict)
    kept: dict[str, Network] = field(
        default_factory=dict
    )  # other weight-shaped numbers
    marks: dict[str, Tensor] = field(default_factory=dict)  # other; leading axis of S

    def named(self) -> dict[str, Tensor]:
        """Return all tensors by name, e.g. moments/velocity/0."""
        tensors = {
            f"{kind}/{name}/{i}": tensor
            for kind, networks in (("moments", self.moments), ("kept", self.kept))
            for name, network in networks.items()
            for i, tensor in enumerate(network.tensors())
        }
        return tensors | {f"marks/{name}": mark for name, mark in self.marks.items()}

    def map(self, change: Callable[[Tensor], Tensor]) -> Memory:
        """Return the memory of the changed tensors."""
        return Memory(
            {name: network.map(change) for name, network in self.moments.items()},
            {name: network.map(change) for name, network in self.kept.items()},
            {name: change(mark) for name, mark in self.marks.items()},
        )

    def permute_inputs(self, orders: Tensor) -> None:
        """Permute the first layers' inputs in place: see `Network.permute_inputs`."""
        for network in (*self.moments.values(), *self.kept.values()):
            network.permute_inputs(orders)

    def forget(self) -> None:
        """Set everything to 0."""
        for tensor in self.named().values():
            tensor.zero_()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy tensors as `named` returns them.

        Raises:
            ValueError: Their names or shapes do not fit this memory.
        """
        own = self.named()
        shapes, own_shapes = (
            {name: tensor.shape for name, tensor in named.items()}
            for named in (tensors, own)
        )
        if shapes != own_shapes:
            raise ValueError("the optimizer's memory belongs to another setting")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


@dataclass
class Stack:
    """Seeds that are trained side by side."""

    seeds: list[int]  # in the order of the tensors' leading axis
    task: int  # number of the current task, from 0
    network: Network
    memory: Memory

    def tensors(self) -> list[Tensor]:
        """Return all tensors: weights, biases and memory."""
        return [*self.network.tensors(), *self.memory.named().values()]

    def map(self, seeds: list[int], change: Callable[[Tensor], Tensor]) -> Stack:
        """Return the stack of these seeds and the changed tensors."""
        memory = self.memory.map(change)
        return Stack(seeds, self.task, self.network.map(change), memory)

    def part(self, start: int, stop: int) -> Stack:
        """Return the seeds from start to before stop, as views."""
        return self.map(self.seeds[start:stop], lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Stack:
        """Return copies of the seeds at these positions, in this order."""
        seeds = [self.seeds[i] for i in positions]
        return self.map(seeds, lambda tensor: tensor[list(positions)])

    def reorder(self, positions: Sequence[int]) -> None:
        """Permute the seeds in place: the i-th becomes what positions[i] was."""
        self.seeds = [self.seeds[i] for i in positions]
        for tensor in self.tensors():
            tensor.copy_(tensor[list(positions)])


@contextlib.contextmanager
def in_pixel_order(tasks: Sequence[Task], *parts: Network | Memory) -> Iterator[None]:
    """Permute the first layers' inputs in place, so that images need no permutation.

    A network sees pixel p[j] at its input j, p the permutation of its task. To permute
    784 rows of its first layer is cheaper than to permute 60,000 images. On exit the
    inputs are put back.

    There is a task for each seed; a problem permutes the pixels in all or in none. The
    parts are all that has a first layer and is used meanwhile.
    """
    permutations = [task.pixels for task in tasks if task.pixels is not None]
    if not permutations:
        yield
        return
    back = np.stack(permutations)
    for part in parts:
        part.permute_inputs(torch.from_numpy(np.argsort(back, axis=1)))
    try:
        yield
    finally:
        for part in parts:
            part.permute_inputs(torch.from_numpy(back))
