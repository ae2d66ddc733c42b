"""Which examples a task has, and in which batches a stack meets them.

The seeds of a stack may have tasks of different sizes (pairs of classes do). They are
sorted by size, so that those which still have a whole batch are always the first ones
of the stack: a slice, and each seed meets just the batches that it would meet alone.
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
"""Steps are made ready many at a time: about as many as have so many examples."""


class Examples(NamedTuple):
    """One seed's examples of one task: positions in the dataset, labels in the task."""

    positions: np.ndarray
    labels: np.ndarray

    def take(self, order: np.ndarray) -> Examples:
        """Return the examples in another order."""
        return Examples(self.positions[order], self.labels[order])


class Segment(NamedTuple):
    """Steps `first` to before `first + steps` of the seeds from start to before stop.

    Each takes a batch of `size` examples a seed.
    """

    first: int
    steps: int
    start: int
    stop: int
    size: int


class Block(NamedTuple):
    """T steps of the k seeds from `start` to before `stop`, with n examples each."""

    start: int
    stop: int
    positions: Int[Tensor, "T k n"]
    labels: Int[Tensor, "T k n"]


def to_tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    """Return an array as tensor without a copy where it can be.

    What comes out of Ray's object store is read-only, which torch warns of; nothing
    here writes to it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array).to(device)


def select(task: Task, dataset_labels: np.ndarray) -> Examples:
    """Return the examples whose class is in the task, in the dataset's order."""
    label_of = np.full(256, -1)
    label_of[list(task.classes)] = np.arange(len(task.classes))
    labels = label_of[dataset_labels]
    positions = np.flatnonzero(labels >= 0)
    return Examples(positions, labels[positions])


def schedule(sizes: Sequence[int], batch_size: int) -> list[Segment]:
    """Return the segments in which seeds of falling size meet all their examples.

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
    """Yield the steps of one epoch, many at a time.

    Args:
        stack: Each seed's examples in the order to meet them; sizes must fall.
        batch_size: Examples per step; what is left at the end is a shorter batch.
        device: Where the blocks go.
    """
    for segment in schedule([len(s.positions) for s in stack], batch_size):
        members = stack[segment.start : segment.stop]
        together = max(1, BLOCK_EXAMPLES // (segment.size * len(members)))
        for done in range(0, segment.steps, together):
            steps = min(together, segment.steps - done)
            first = segment.first * batch_size + done * segment.size
            last = first + steps * segment.size
            positions, labels = (
                np.stack(
                    [m[field][first:last].reshape(steps, -1) for m in members], axis=1
                )
                for field in (0, 1)
            )
            yield Block(
                segment.start,
                segment.stop,
                torch.from_numpy(positions).to(device),
                torch.from_numpy(labels).to(device),
            )


class Reader:
    """Reads images as reals in [0, 1].

    It keeps the memory that it writes to, because fresh memory costs more than the
    arithmetic: what it returned is overwritten when it reads as much again.

    Attributes:
        images: The dataset's, of shape (N, inputs).
    """

    def __init__(self, images: UInt8[Tensor, "N inputs"], dtype: torch.dtype) -> None:
        """Read from a dataset's images."""
        self.images, self._dtype = images, dtype
        self._memory: dict[int, tuple[Tensor, Tensor]] = {}

    def another(self) -> Reader:
        """Return a reader of the same images with memory of its own."""
        return Reader(self.images, self._dtype)

    def read(self, positions: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape inputs"]:
        """Return the images at these positions."""
        rows = positions.numel()
        if rows not in self._memory:
            raw = self.images.new_empty(rows, self.images.shape[1])
            self._memory = {rows: (raw, torch.empty_like(raw, dtype=self._dtype))}
        raw, reals = self._memory[rows]
        torch.index_select(self.images, 0, positions.flatten(), out=raw)
        return reals.copy_(raw).mul_(1 / 255).view(*positions.shape, -1)
