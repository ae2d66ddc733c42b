"""The problem `growing`: each task has the classes of the task before, and new ones.

Each seed shuffles the classes. The first task has the first `new_classes` of them, and
each later task has `new_classes` more. The network has an output for each class from
the start, but the loss and the accuracy use only the outputs of the task's classes. A
task has training images and test images of all its classes, old and new. This is the
class-incremental CIFAR-100 of Dohare et al. 2024 (doi 10.1038/s41586-024-07711-7;
shibhansh/loss-of-plasticity@63c35f3:lop/incremental_cifar/incremental_cifar_experiment.py
lines 276, 389 and 445-463), with 5 new classes per task.

The authors leave out 50 training images of each class. They rotate, flip and crop the
other images at random. They lower the learning rate three times within a task, and at
the end of a task they go back to its best network. None of this is done here.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import whole
from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator


@attrs.frozen(kw_only=True)
class Growing(Problem):
    """A stream in which each task adds new classes to those of the task before."""

    name: ClassVar[str] = "growing"
    grows: ClassVar[bool] = True

    new_classes: int = whole(
        5, unit="classes", meaning="growing: classes that each task adds"
    )

    def longest(self, form: Form) -> int:
        """Return the number of tasks until a task has all classes."""
        return -(-form.classes // self.new_classes)

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        >>> first, second = (Growing(new_classes=3).task(7, i) for i in (0, 1))
        >>> len(second.classes), second.classes[:3] == first.classes, second.label
        (6, True, '6 classes')
        """
        order = generator("stream", seed).permutation(form.classes).tolist()
        seen = min(form.classes, (index + 1) * self.new_classes)
        return Task(f"{seen} classes", tuple(order[:seen]))
