"""The problem `pairwise-oriented`: pairs of classes, with a random order of the labels.

In the problem `pairwise`, the smaller class of each pair has label 0. So class 0 always
has label 0 and class 9 always has label 1, and the network can keep what it has learned
about these labels. Here, each task draws which class has label 0.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.problems.pairwise import Pairwise
from trainables.problems.task import MNIST, Form, Task
from trainables.randomness import generator


@attrs.frozen
class PairwiseOriented(Pairwise):
    """The stream `Pairwise`, in which about half of the tasks swap their two labels."""

    name: ClassVar[str] = "pairwise-oriented"

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The pairs come in the order of `Pairwise`. The class with label 0 is first in
        the name of the task.

        >>> tasks = [PairwiseOriented().task(7, i) for i in range(45)]
        >>> sorted("v".join(sorted(task.label.split("v"))) for task in tasks)[:3]
        ['0v1', '0v2', '0v3']
        """
        pair = Pairwise().task(seed, index, form).classes
        # the purpose "stream" already draws the order of the pairs
        if generator("orientation", seed, index).integers(2):
            pair = pair[::-1]
        return Task(f"{pair[0]}v{pair[1]}", pair)
