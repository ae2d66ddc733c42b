"""Tasks and problems: what a stream is made of."""

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
    """One stationary part of a stream.

    Attributes:
        label: Names the task in the records.
        classes: The dataset's classes in the task; the i-th has label i.
        pixels: Shape (784,): the network's input j is the image's pixel pixels[j],
            in training and in testing. None: the pixels keep their order.
    """

    label: str
    classes: tuple[int, ...]
    pixels: np.ndarray | None = None


class Problem(Protocol):
    """A stream of tasks."""

    name: ClassVar[str]
    outputs: ClassVar[int]
    """How many labels a task has: the width of the network's only head."""
    default_tasks: ClassVar[int]
    longest: ClassVar[int | None]
    """The largest number of tasks; None: no limit."""

    def task(self, seed: int, index: int) -> Task:
        """Return task `index` (from 0) of the seed's stream; a pure function."""
        ...
