"""The examples of a task, and the batches in which a stack trains on them.

The seeds of a stack may have tasks of different sizes, as with pairs of classes. The
seeds are sorted by task size, largest first. The seeds that still have a whole batch
are then a slice of the stack, and each seed gets the same batches as if it were alone.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trainables.problems import Task

BLOCK_EXAMPLES = 2**16
"""The approximate number of examples in a block of batches."""


class Examples(NamedTuple):
    """One seed's examples of a task."""

    positions: np.ndarray  # of the examples in the dataset
    labels: np.ndarray  # of the examples in the task

    def take(self, order: np.ndarray) -> Examples:
        """Return the examples at the positions `order`, in this order."""
        return Examples(self.positions[order], self.labels[order])


class Segment(NamedTuple):
    """Consecutive steps of the seeds at positions start to stop - 1."""

    first: int  # index of the first step in the epoch
    steps: int  # number of steps
    start: int
    stop: int
    size: int  # examples per seed and step


class Block(NamedTuple):
    """T steps with n examples each, of the k seeds at positions start to stop - 1."""

    start: int
    stop: int
    positions: Int[Tensor, "T k n"]
    labels: Int[Tensor, "T k n"]


def to_tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    """Return an array as a tensor, without a copy on a CPU.

    Arrays from Ray's object store are read-only, and torch warns about such arrays. The
    warning is suppressed, because this program never writes to them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array).to(device)


def select(task: Task, dataset_labels: np.ndarray) -> Examples:
    """Return the examples whose classes are in the task, in the dataset's order."""
    label_of = np.full(256, -1)
    label_of[list(task.classes)] = np.arange(len(task.classes))
    labels = label_of[dataset_labels]
    positions = np.flatnonzero(labels >= 0)
    return Examples(positions, labels[positions])


def schedule(sizes: Sequence[int], batch_size: int) -> list[Segment]:
    """Return segments that cover all examples of all seeds.

    `sizes` has each seed's number of examples, in descending order.

    >>> schedule([7, 5], batch_size=2)
    [Segment(first=0, steps=2, start=0, stop=2, size=2), \
Segment(first=2, steps=1, start=1, stop=2, size=1), \
Segment(first=2, steps=1, start=0, stop=1, size=2), \
Segment(first=3, steps=1, start=0, stop=1, size=1)]
    """
    segments = []
    done, stop = 0, len(sizes)
    while stop:
        whole = sizes[stop - 1] // batch_size
        if whole > done:
            segments.append(Segment(done, whole - done, 0, stop, batch_size))
        ending = [s for s in range(stop) if sizes[s] // batch_size == whole]
        for size, same in itertools.groupby(ending, lambda s: sizes[s] % batch_size):
            group = list(same)
            if size:
                segments.append(Segment(whole, 1, group[0], group[-1] + 1, size))
        done, stop = whole, ending[0]
    return segments


def blocks(
    stack: Sequence[Examples], batch_size: int, device: torch.device | str
) -> Iterator[Block]:
    """Yield the steps of one epoch in blocks, as tensors on a device.

    `stack` has each seed's examples in training order; the seed with the most examples
    comes first.
    """
    for segment in schedule([len(s.positions) for s in stack], batch_size):
        members = stack[segment.start : segment.stop]
        block_steps = max(1, BLOCK_EXAMPLES // (segment.size * len(members)))
        for done in range(0, segment.steps, block_steps):
            steps = min(block_steps, segment.steps - done)
            first = segment.first * batch_size + done * segment.size
            last = first + steps * segment.size
            arrays = (
                np.stack([m[i][first:last].reshape(steps, -1) for m in members], axis=1)
                for i in (0, 1)
            )
            positions, labels = (torch.from_numpy(a).to(device) for a in arrays)
            yield Block(segment.start, segment.stop, positions, labels)


class Reader:
    """Reads images as floating-point numbers in [0, 1].

    A reader reuses its memory, because allocating memory takes longer than the
    arithmetic. The next call for the same number of images overwrites the result.
    """

    def __init__(self, images: UInt8[Tensor, "N inputs"], dtype: torch.dtype) -> None:
        """Store the images of the dataset and the dtype of the results."""
        self.images, self._dtype = images, dtype
        self._memory: dict[int, tuple[Tensor, Tensor]] = {}  # by number of images

    def clone(self) -> Reader:
        """Return a reader of the same images with its own memory."""
        return Reader(self.images, self._dtype)

    def read(self, positions: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape inputs"]:
        """Return the images at these positions."""
        count = positions.numel()
        if count not in self._memory:
            raw = self.images.new_empty(count, self.images.shape[1])
            self._memory = {count: (raw, torch.empty_like(raw, dtype=self._dtype))}
        raw, reals = self._memory[count]
        torch.index_select(self.images, 0, positions.flatten(), out=raw)
        return reals.copy_(raw).mul_(1 / 255).view(*positions.shape, -1)
