"""Tasks and problems. A problem is a stream of tasks."""

from __future__ import annotations

from typing import ClassVar, Protocol

import attrs
import numpy as np

PIXELS = 784
"""The number of pixels of an image. In every dataset, images have 28 x 28 pixels."""

CLASSES = 10
"""The number of classes of every dataset."""


@attrs.frozen(eq=False)
class Task:
    """One part of a stream, during which the data distribution does not change.

    Attributes:
        label: The name of the task in the records.
        classes: The classes of the dataset that are in the task. In the task, class
            classes[i] has the label i.
        pixels: A permutation of the pixels, of shape (784,), or None to keep the order
            of the pixels. In training and testing, input j of the network is pixel
            pixels[j] of the image.
        shuffled: Whether the labels of the images are shuffled, so that they can only
            be memorized. All such tasks of a seed have the same images, and the network
            is tested on the images on which it was trained.
        share: The share of the training images of these classes that the task has, or
            None for all. A larger share has all images of a smaller share, and more.
    """

    label: str
    classes: tuple[int, ...]
    pixels: np.ndarray | None = None
    shuffled: bool = False
    share: float | None = None


class Problem(Protocol):
    """A problem defines a stream of tasks for each seed."""

    name: ClassVar[str]
    outputs: ClassVar[int]
    """The number of outputs of the network, one for each label of a task."""
    default_tasks: ClassVar[int]
    longest: ClassVar[int | None]
    """The maximum number of tasks in the stream, or None if there is no limit."""

    def task(self, seed: int, index: int) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        Equal arguments must give equal tasks.
        """
        ...
