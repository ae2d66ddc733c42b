"""Tasks and problems. A problem is a stream of tasks."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import ClassVar

import attrs
import numpy as np

from trainables.usage import UsageError


@attrs.frozen
class Form:
    """The form of a dataset: the size of its images, and the number of its classes.

    An image is stored as one row of numbers, ordered by row, then by column, then by
    channel (e.g. red, green and blue).
    """

    height: int
    width: int
    channels: int
    classes: int

    @property
    def pixels(self) -> int:
        """The number of numbers in an image, and of inputs of a network."""
        return self.height * self.width * self.channels


MNIST = Form(28, 28, 1, 10)
"""The form of MNIST, and of datasets that replace it, such as Fashion-MNIST."""


@attrs.frozen(eq=False)
class Task:
    """One part of a stream, during which the data distribution does not change.

    Attributes:
        label: The name of the task in the records.
        classes: The classes of the dataset that are in the task. In the task, class
            classes[i] has the label i.
        pixels: A permutation of the pixels, of shape (pixels,), or None to keep the
            order of the pixels. In training and testing, input j of the network is
            pixel pixels[j] of the image.
        shuffled: Whether the labels of the images are shuffled, so that a network can
            only memorize them. All such tasks of a seed have the same images. The
            network is tested on its training images.
        share: The share of the training images of these classes that the task has, or
            None for all. A larger share includes all images of a smaller share.
        angle: The angle in degrees by which the images are turned counterclockwise. All
            seeds have the same angle.
    """

    label: str
    classes: tuple[int, ...]
    pixels: np.ndarray | None = None
    shuffled: bool = False
    share: float | None = None
    angle: float = 0.0


def checksum(order: np.ndarray) -> str:
    """Return a short name of a permutation: its CRC-32 as hexadecimal digits."""
    return f"{zlib.crc32(order.astype('<u2').tobytes()):08x}"


@attrs.frozen(kw_only=True)
class Problem:
    """Base class: a problem defines a stream of tasks for each seed."""

    name: ClassVar[str]
    outputs: ClassVar[int | None] = None
    """The number of labels of a task, or None for one label per class."""
    default_tasks: ClassVar[int] = 100
    """The default number of tasks of a setting, or `longest` if it is smaller."""
    control: ClassVar[Form | None] = None
    """The form of a problem of control, or None if the tasks have images and labels.

    The pixels of the form are the numbers of an observation, and the classes are the
    actions. If there are no actions to choose, there is one class, whose output is the
    value of the observation.
    """
    grows: ClassVar[bool] = False
    """Whether a task uses only as many outputs as it has classes: the first ones."""
    acts: ClassVar[bool] = False
    """Whether the network chooses actions: with an actor (PPO) or by value (DQN)."""
    measure: ClassVar[str] = "test_accuracy"
    """The column that says how well a network has learned a task."""
    guess: ClassVar[float | None] = None
    """The `measure` of a network that learned nothing; only for problems of control."""

    def guess_in(self, index: int) -> float | None:
        """Return `guess` in task number `index`, from 0."""
        return self.guess

    @property
    def examples(self) -> int:
        """The number of steps in a task of a problem of control."""
        raise NotImplementedError

    def longest(self, form: Form) -> int | None:
        """Return the maximum number of tasks, or None if there is no limit."""
        return None

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        `form` is the form of the dataset from which the task is made. Equal arguments
        must give equal tasks.
        """
        raise NotImplementedError


def check_tasks(problem: Problem, tasks: Sequence[Task], form: Form) -> None:
    """Check the tasks of seeds that are trained together.

    Raises:
        UsageError: A task does not fit the dataset or the outputs, or the tasks differ
            in something that all seeds must share.
    """
    outputs = problem.outputs or form.classes
    kinds = set()
    for task in tasks:
        classes, pixels = task.classes, task.pixels
        is_known = set(classes) <= set(range(form.classes))
        if not 0 < len(classes) == len(set(classes)) <= outputs or not is_known:
            raise UsageError(
                f"problem {problem.name} has a task with the classes {classes}: give 1 "
                f"to {outputs} different classes from 0 to {form.classes - 1}"
            )
        if pixels is not None and not np.array_equal(
            np.sort(pixels), np.arange(form.pixels)
        ):
            raise UsageError(
                f"problem {problem.name} has a task whose pixels are no permutation of "
                f"the numbers from 0 to {form.pixels - 1}"
            )
        width = len(classes) if problem.grows else outputs
        kinds.add((pixels is None, task.shuffled, task.angle, width))
    if len(kinds) > 1:
        raise UsageError(
            f"problem {problem.name} gives two seeds tasks of different kinds: give "
            "all seeds the same angle and number of outputs, and permute pixels and "
            "shuffle labels of all seeds or of none"
        )
