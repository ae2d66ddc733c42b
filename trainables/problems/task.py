"""Tasks, and problems, which are streams of tasks."""

from __future__ import annotations

from typing import ClassVar, Protocol

import attrs
import numpy as np

PIXELS = 784
"""The number of pixels of an image: the images of every dataset are 28 x 28."""

CLASSES = 10
"""The number of classes of every dataset."""


@attrs.frozen(eq=False)
class Task:
    """One stationary part of a stream.

    Attributes:
        label: The name of the task in the records.
        classes: The dataset's classes in the task. Class classes[i] gets label i.
        pixels: A permutation of shape (784,), or None to keep the order of the pixels.
            Input j of the network is pixel pixels[j] of the image, in training and in
            testing.
    """

    label: str
    classes: tuple[int, ...]
    pixels: np.ndarray | None = None


class Problem(Protocol):
    """A stream of tasks."""

    name: ClassVar[str]
    outputs: ClassVar[int]
    """The number of labels of a task, which is the width of the network's only head."""
    default_tasks: ClassVar[int]
    longest: ClassVar[int | None]
    """The maximum number of tasks, or None if there is no limit."""

    def task(self, seed: int, index: int) -> Task:
        """Return task `index` (from 0) of the seed's stream. The function is pure."""
        ...
