"""A stack: the seeds that are trained together, with their networks and memory.

A `Memory` has the numbers that an optimizer or an intervention needs in later steps.
Like the weights, these numbers are in checkpoints, are dropped if their seed diverges,
and are reordered when the seeds or the input pixels are reordered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from trainables.networks.network import Network
from trainables.problems import Task


@dataclass
class Memory:
    """The numbers that are kept between steps for S seeds, in addition to the weights.

    Attributes:
        moments: The running averages of momentum, of Adam and of some optimizers. When
            an intervention redraws a weight, it sets the moments of this weight to 0.
        kept: Other quantities that have one number per weight.
        marks: All other tensors, for example counters. The first axis has length S.
    """

    moments: dict[str, Network] = field(default_factory=dict)
    kept: dict[str, Network] = field(default_factory=dict)
    marks: dict[str, Tensor] = field(default_factory=dict)

    def named(self) -> dict[str, Tensor]:
        """Return all tensors of the memory by name, e.g. moments/velocity/0."""
        tensors = {
            f"{kind}/{name}/{i}": tensor
            for kind, networks in (("moments", self.moments), ("kept", self.kept))
            for name, network in networks.items()
            for i, tensor in enumerate(network.tensors())
        }
        return tensors | {f"marks/{name}": mark for name, mark in self.marks.items()}

    def map(self, change: Callable[[Tensor], Tensor]) -> Memory:
        """Apply `change` to each tensor, and return a memory of the results."""
        return Memory(
            {name: network.map(change) for name, network in self.moments.items()},
            {name: network.map(change) for name, network in self.kept.items()},
            {name: change(mark) for name, mark in self.marks.items()},
        )

    def permute_inputs(self, orders: Tensor) -> None:
        """Permute the inputs of the first layer as `Network.permute_inputs` does."""
        for network in (*self.moments.values(), *self.kept.values()):
            network.permute_inputs(orders)

    def forget(self) -> None:
        """Set all numbers in the memory to 0."""
        for tensor in self.named().values():
            tensor.zero_()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy tensors that `named` returned into this memory.

        Raises:
            ValueError: The names or shapes of the tensors do not fit this memory.
        """
        own = self.named()
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes != {name: tensor.shape for name, tensor in own.items()}:
            raise ValueError(
                "the saved memory of the optimizer, the base or the intervention "
                "belongs to another setting"
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


@dataclass
class Stack:
    """Networks that are trained together, usually seeds of one setting."""

    seeds: list[int]  # in the order of the first axis of each tensor
    task: int  # number of the current task, from 0
    network: Network
    memory: Memory

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the stack: weights, biases, statistics and memory."""
        network = self.network
        memory = self.memory.named().values()
        return [*network.tensors(), *network.statistics, *memory]

    def map(self, seeds: list[int], change: Callable[[Tensor], Tensor]) -> Stack:
        """Apply `change` to each tensor; return a stack of the results, for `seeds`."""
        memory = self.memory.map(change)
        return Stack(seeds, self.task, self.network.map(change), memory)

    def part(self, start: int, stop: int) -> Stack:
        """Return a stack of the seeds at positions start to stop - 1, as views."""
        return self.map(self.seeds[start:stop], lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Stack:
        """Return a stack with copies of the seeds at `positions`, in this order."""
        seeds = [self.seeds[i] for i in positions]
        return self.map(seeds, lambda tensor: tensor[list(positions)])

    def reorder(self, positions: Sequence[int]) -> None:
        """Reorder the seeds in place: the seed at positions[i] moves to position i."""
        self.seeds = [self.seeds[i] for i in positions]
        for tensor in self.tensors():
            tensor.copy_(tensor[list(positions)])


@contextlib.contextmanager
def in_pixel_order(tasks: Sequence[Task], *parts: Network | Memory) -> Iterator[None]:
    """Permute the inputs of the first layer instead of the pixels of all images.

    If p is the pixel permutation of a seed's task, input j of the network must get
    pixel p[j]. It is cheaper to permute the 784 inputs of the first layer than to
    permute 60,000 images. At the end of the `with` statement, the inputs return to
    their previous order.

    `tasks` has one task per seed. Either all tasks permute the pixels or no task does.
    `parts` must contain every network and memory that the `with` statement uses.
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
