"""The problem `pairwise`: in each task, the network learns to separate two classes.

Each task has another pair of classes, and all tasks use the same two outputs of the
network. Koster & Kukla 2024 (arXiv 2409.17300) define the problem and call it
class-incremental. They follow the binary ImageNet stream of Dohare et al. 2023 (arXiv
2306.13812).
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import attrs

from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator


@attrs.frozen
class Pairwise(Problem):
    """A stream with one task per pair of classes, in a random order."""

    name: ClassVar[str] = "pairwise"
    outputs: ClassVar[int] = 2

    def longest(self, form: Form) -> int:
        """Return the number of pairs of classes."""
        return math.comb(form.classes, 2)

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The smaller class of the pair has label 0.

        >>> sorted(Pairwise().task(7, i).label for i in range(45))[:3]
        ['0v1', '0v2', '0v3']
        """
        pairs = list(itertools.combinations(range(form.classes), 2))
        pair = pairs[generator("stream", seed).permutation(len(pairs))[index]]
        return Task(f"{pair[0]}v{pair[1]}", pair)
