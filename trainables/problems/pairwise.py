"""The problem `pairwise`: in each task, the network learns to separate two classes.

The problem is class-incremental: each task has another pair of classes. All tasks use
the same two outputs of the network. Koster & Kukla 2024 (arXiv 2409.17300) define the
problem. They adapted the binary ImageNet stream of Dohare et al. 2023 (arXiv
2306.13812).
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
    """A stream with one task per pair of classes, in a random order.

    The seed determines the order.
    """

    name: ClassVar[str] = "pairwise"
    outputs: ClassVar[int] = 2
    default_tasks: ClassVar[int] = len(_PAIRS)
    longest: ClassVar[int | None] = len(_PAIRS)

    def task(self, seed: int, index: int) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The smaller class of the pair has label 0.

        >>> sorted(Pairwise().task(7, i).label for i in range(45))[:3]
        ['0v1', '0v2', '0v3']
        """
        pair = _PAIRS[generator("stream", seed).permutation(len(_PAIRS))[index]]
        return Task(f"{pair[0]}v{pair[1]}", pair)
