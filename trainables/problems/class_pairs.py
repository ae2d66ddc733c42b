"""The problem `class-pairs`: each task has two new classes, until all classes are used.

Each seed shuffles the classes, and each task has the next two classes of this order.
After the last pair, the first pair comes again. Continual ImageNet of Dohare et al.
2024 (doi 10.1038/s41586-024-07711-7;
shibhansh/loss-of-plasticity@63c35f3:lop/imagenet/single_expr.py:118-135) is such a
stream, with 1,000 classes. With the dataset `cifar-100`, there are 50 pairs.

In the problem `pairwise`, each task has a new pair, but many tasks share a class.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator


@attrs.frozen
class ClassPairs(Problem):
    """A stream in which each task has the next two classes of a random order.

    If the number of classes is odd, the last class of the order is in no task.
    """

    name: ClassVar[str] = "class-pairs"
    outputs: ClassVar[int] = 2

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The class with label 0 is first in the name of the task.

        >>> tasks = [ClassPairs().task(7, index) for index in range(6)]
        >>> sorted(label for task in tasks[:5] for label in task.classes)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> tasks[5].label == tasks[0].label
        True
        """
        order = generator("stream", seed).permutation(form.classes).tolist()
        first = 2 * (index % (form.classes // 2))
        pair = (order[first], order[first + 1])
        return Task(f"{pair[0]}v{pair[1]}", pair)
