"""A stack of seeds in training: the networks of the seeds and their memory.

A `Memory` holds all numbers that an optimizer or an intervention keeps between steps.
Whatever happens to the weights also happens to the memory: both are saved in
checkpoints, removed when a seed diverges, and permuted when the seeds or the input
pixels get another order.
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
    """The numbers that are kept between steps for S seeds, besides their weights.

    Moments are averages of the gradient (of momentum, and the two of Adam). When an
    intervention redraws a weight, the moments of the weight are reset too.
    """

    moments: dict[str, Network] = field(default_factory=dict)
    kept: dict[str, Network] = field(
        default_factory=dict
    )  # other weight-shaped numbers
    # other tensors; the leading axis is that of the seeds
    marks: dict[str, Tensor] = field(default_factory=dict)

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
        """Return a memory whose tensors are `change` of this memory's tensors."""
        return Memory(
            {name: network.map(change) for name, network in self.moments.items()},
            {name: network.map(change) for name, network in self.kept.items()},
            {name: change(mark) for name, mark in self.marks.items()},
        )

    def permute_inputs(self, orders: Tensor) -> None:
        """Permute the inputs of the first layer in place: see `Network`."""
        for network in (*self.moments.values(), *self.kept.values()):
            network.permute_inputs(orders)

    def forget(self) -> None:
        """Set all tensors to 0."""
        for tensor in self.named().values():
            tensor.zero_()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy `tensors`, a result of `named`, into this memory.

        Raises:
            ValueError: The names or shapes of the tensors do not fit this memory.
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
    """Seeds that are trained together."""

    seeds: list[int]  # in the order of the tensors' leading axis
    task: int  # number of the current task, from 0
    network: Network
    memory: Memory

    def tensors(self) -> list[Tensor]:
        """Return all tensors: weights, biases and memory."""
        return [*self.network.tensors(), *self.memory.named().values()]

    def map(self, seeds: list[int], change: Callable[[Tensor], Tensor]) -> Stack:
        """Return a stack of `seeds` whose tensors are `change` of this stack's."""
        memory = self.memory.map(change)
        return Stack(seeds, self.task, self.network.map(change), memory)

    def part(self, start: int, stop: int) -> Stack:
        """Return the seeds at positions start to stop - 1, as views."""
        return self.map(self.seeds[start:stop], lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Stack:
        """Return copies of the seeds at these positions, in this order."""
        seeds = [self.seeds[i] for i in positions]
        return self.map(seeds, lambda tensor: tensor[list(positions)])

    def reorder(self, positions: Sequence[int]) -> None:
        """Permute the seeds in place: the seed at positions[i] moves to position i."""
        self.seeds = [self.seeds[i] for i in positions]
        for tensor in self.tensors():
            tensor.copy_(tensor[list(positions)])


@contextlib.contextmanager
def in_pixel_order(tasks: Sequence[Task], *parts: Network | Memory) -> Iterator[None]:
    """Permute the inputs of the first layer in place, instead of the images' pixels.

    If p is the permutation of a seed's task, input j of the network sees pixel p[j].
    Permuting the 784 inputs of the first layer is cheaper than permuting 60,000
    images. On exit, the inputs get their previous order.

    `tasks` has one task per seed. A problem permutes the pixels in all of its tasks or
    in none. `parts` must include everything with a first layer that is used meanwhile.
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
