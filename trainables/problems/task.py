"""What a problem says of one task: which classes, and how the pixels are permuted."""

from __future__ import annotations

from typing import ClassVar, Protocol

import attrs
import numpy as np

PIXELS = 784
"""Every dataset's images are 28 x 28."""

CLASSES = 10
"""Every dataset has ten classes."""


@attrs.frozen(eq=False)
class Task:
    """One stationary piece of the stream.

    Attributes:
        label: What tells the task from others, for a reader of the records.
        classes: The dataset's classes in it; the i-th has label i in the task.
        pixels: Shape (784,): the network's input j is the image's pixel pixels[j],
            in training and in testing. None: the image as it is.
    """

    label: str
    classes: tuple[int, ...]
    pixels: np.ndarray | None = None


class Problem(Protocol):
    """A stream of tasks."""

    name: ClassVar[str]
    outputs: ClassVar[int]
    """How many labels a task has, and so the width of the network's one head."""
    default_tasks: ClassVar[int]
    longest: ClassVar[int | None]
    """The most tasks that there are; None: no end."""

    def task(self, seed: int, index: int) -> Task:
        """Return task `index` (from 0) of the seed's stream, a pure function."""
        ...
