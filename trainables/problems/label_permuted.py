"""The problem `label-permuted`: each task gives the classes a new order of labels.

The images stay the same, and each task has a new map from classes to labels. So the
features that the network has learned stay useful, and only the outputs must change.
Lewandowski et al. 2023 (arXiv 2312.00246) and Lee et al. 2023 (arXiv 2306.10711) use
such streams, because a network can lose input plasticity and label plasticity
separately.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.problems.task import MNIST, Form, Problem, Task, checksum
from trainables.randomness import generator


@attrs.frozen
class LabelPermuted(Problem):
    """A stream in which each task permutes the labels at random, even the first."""

    name: ClassVar[str] = "label-permuted"

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The name of the task lists its classes in the order of their labels 0, 1, ...
        With more than ten classes, it is the CRC-32 of this order.

        >>> sorted(LabelPermuted().task(seed=0, index=3).label)
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
        """
        order = generator("stream", seed, index).permutation(form.classes)
        # with more than ten classes, the digits would be ambiguous
        label = "".join(map(str, order)) if form.classes <= 10 else checksum(order)
        return Task(label, tuple(order.tolist()))
