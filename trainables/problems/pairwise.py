"""Pairs of classes, a class-incremental problem: each task separates two classes.

Koster & Kukla 2024 (arXiv 2409.17300) define the problem, which is based on the binary
ImageNet stream of Dohare et al. 2023 (arXiv 2306.13812). All tasks share one head with
two outputs.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import attrs

from trainables.problems.task import CLASSES, Task
from trainables.randomness import generator

_PAIRS = list(itertools.combinations(range(CLASSES), 2))


@attrs.frozen
class Pairwise:
    """Each pair of the ten classes once, in a random order that the seed fixes."""

    name: ClassVar[str] = "pairwise"
    outputs: ClassVar[int] = 2
    default_tasks: ClassVar[int] = len(_PAIRS)
    longest: ClassVar[int | None] = len(_PAIRS)

    def task(self, seed: int, index: int) -> Task:
        """Return task `index`, in which the smaller digit has label 0.

        >>> sorted(Pairwise().task(7, i).label for i in range(45))[:3]
        ['0v1', '0v2', '0v3']
        """
        pair = _PAIRS[generator("stream", seed).permutation(len(_PAIRS))[index]]
        return Task(f"{pair[0]}v{pair[1]}", pair)
