"""Select the examples of a task, and make batches for seeds that train together.

The seeds that train together are a stack. Their tasks can have different sizes, e.g. if
a task is a pair of classes. The seeds are therefore sorted by task size, largest first:
in each step, the seeds that still have a whole batch are neighbors in the stack. Each
seed gets the same batches as if it were trained alone.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

from trainables.problems import Task
from trainables.randomness import generator

BLOCK_EXAMPLES = 2**16
"""The approximate number of examples in a block of batches."""


class Examples(NamedTuple):
    """The examples of a task, for one seed."""

    positions: np.ndarray  # where the examples are in the dataset
    labels: np.ndarray  # the labels in the task, which start at 0

    def take(self, order: np.ndarray) -> Examples:
        """Return the examples at the positions `order`, in this order."""
        return Examples(self.positions[order], self.labels[order])


class Segment(NamedTuple):
    """Consecutive steps in which the same seeds train on batches of the same size."""

    first: int  # index of the first step in the epoch
    steps: int  # number of steps
    start: int  # position of the first seed in the stack
    stop: int  # position after the last seed
    size: int  # number of examples per seed and step


class Block(NamedTuple):
    """The batches of T steps, with n examples per step for each of k seeds."""

    start: int  # position of the first seed in the stack
    stop: int  # position after the last seed
    positions: Int[Tensor, "T k n"]
    labels: Int[Tensor, "T k n"]


def to_tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    """Return an array as a tensor on a device; on a CPU, without copying the array.

    torch warns about read-only arrays, such as those from Ray's object store. The
    warning is suppressed, because this program never writes to the tensor.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array).to(device)


def select(task: Task, dataset_labels: np.ndarray) -> Examples:
    """Return the examples of the task's classes, in the order of the dataset."""
    label_of = np.full(256, -1)
    label_of[list(task.classes)] = np.arange(len(task.classes))
    labels = label_of[dataset_labels]
    positions = np.flatnonzero(labels >= 0)
    return Examples(positions, labels[positions])


def draw(
    task: Task, dataset_labels: np.ndarray, count: int | None, seed: int, index: int
) -> Examples:
    """Return the training examples of task number `index` of the seed's stream.

    The candidates are all examples of the task's classes, or the share `task.share` of
    these examples. If `count` is None, the task has all candidates. Otherwise, each
    task draws at most `count` of the candidates. If the tasks shuffle the labels, all
    tasks of a seed have the same images.
    """
    examples = select(task, dataset_labels)
    if task.share is not None:
        order = generator("share", seed).permutation(len(examples.labels))
        stop = max(1, round(task.share * len(order)))
        examples = examples.take(np.sort(order[:stop]))
    if count is not None:
        random = generator("examples", seed, 0 if task.shuffled else index)
        chosen = random.permutation(len(examples.labels))[:count]
        examples = examples.take(np.sort(chosen))
    if task.shuffled:
        random = generator("labels", seed, index)
        examples = examples._replace(labels=random.permutation(examples.labels))
    return examples


def schedule(sizes: Sequence[int], batch_size: int) -> list[Segment]:
    """Return the segments of an epoch, in which each seed trains on all its examples.

    `sizes` has the number of examples of each seed, in descending order.

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
    stack: Sequence[Examples],
    batch_size: int,
    device: torch.device | str,
    least_steps: int = 1,
    networks: Sequence[int] | None = None,
) -> Iterator[Block]:
    """Yield the batches of one epoch as blocks, which are tensors on a device.

    `stack` has the examples of each seed, in training order. The seed with the most
    examples must come first. Each block has at least `least_steps` steps, except the
    last one of a segment. `networks` is the number of networks of each seed (default:
    one). More networks make smaller blocks.
    """
    for segment in schedule([len(s.positions) for s in stack], batch_size):
        members = stack[segment.start : segment.stop]
        count = len(members)
        if networks is not None:
            count = sum(networks[segment.start : segment.stop])
        block_steps = BLOCK_EXAMPLES // (segment.size * count)
        block_steps = max(least_steps, block_steps)
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


@dataclass(eq=False)
class Reader:
    """Reads images of a dataset as floating-point numbers.

    A reader reuses its memory, because allocating memory takes longer than the
    arithmetic. The next call for the same number of images overwrites a result.

    Attributes:
        images: The images of the dataset: pixels from 0 to 255, or the result of
            `converted`.
        dtype: The dtype of the results.
        low: The number that a black pixel becomes. None means 0. A white pixel
            becomes 1.
        scale: If this is given, `low` is ignored, and pixel x of channel c becomes
            scale[c] x + shift[c].
        shift: See `scale`.
        angle: The angle in degrees by which the images are turned.
        orders: The order of the inputs of each of S seeds, or None for the order of the
            dataset. Input j of seed s is pixel orders[s, j] of the image.
    """

    images: UInt8[Tensor, "N inputs"] | Float[Tensor, "N inputs"]
    dtype: torch.dtype
    low: float | None = None
    scale: Float[Tensor, " channels"] | None = None
    shift: Float[Tensor, " channels"] | None = None
    orders: Int64[Tensor, "S inputs"] | None = None
    angle: float = 0.0
    # key: number of images
    _memory: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    def clone(self) -> Reader:
        """Return a reader of the same images with its own memory."""
        return replace(self)

    def part(self, start: int, stop: int) -> Reader:
        """Return a reader for the seeds at positions start to stop - 1."""
        if self.orders is None:
            return self
        return replace(self, orders=self.orders[start:stop])

    def converted(self) -> Reader:
        """Return a reader that has all images as floating-point numbers.

        It only copies the images that it reads, but needs four times as much memory in
        float32, or eight times in float64.
        """
        return replace(self, images=self._convert(self.images))

    def replace_images(self, images: UInt8[Tensor, "N inputs"]) -> None:
        """Read other images from now on. They are converted if the old ones were."""
        is_converted = self.images.dtype != torch.uint8
        self.images = self._convert(images) if is_converted else images

    def _convert(self, images: UInt8[Tensor, "N inputs"]) -> Float[Tensor, "N inputs"]:
        reals = images.to(self.dtype)
        self._scale(reals)
        return reals

    def _scale(self, reals: Float[Tensor, "n inputs"]) -> None:
        """Convert pixels from 0 to 255 into inputs, in place."""
        if self.scale is not None and self.shift is not None:
            by_channel = reals.view(len(reals), -1, len(self.scale))
            by_channel.mul_(self.scale).add_(self.shift)
        elif self.low is None:
            reals.mul_(1 / 255)
        else:
            reals.mul_((1 - self.low) / 255).add_(self.low)

    def read(self, positions: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape inputs"]:
        """Return the images at these positions in the dataset.

        If there are `orders`, `positions` has the shape (..., S, n) for S seeds.
        """
        count = positions.numel()
        if count not in self._memory:
            raw = self.images.new_empty(count, self.images.shape[1])
            reals = raw
            if self.images.dtype == torch.uint8:
                reals = torch.empty_like(raw, dtype=self.dtype)
            self._memory = {count: (raw, reals)}
        raw, reals = self._memory[count]
        torch.index_select(self.images, 0, positions.flatten(), out=raw)
        if reals is not raw:
            reals.copy_(raw)
            self._scale(reals)
        inputs = reals.view(*positions.shape, -1)
        if self.orders is None:
            return inputs
        return inputs.gather(-1, self.orders.unsqueeze(-2).expand(inputs.shape))
