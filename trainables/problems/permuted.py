"""The problem `permuted`: each task has a new random order of the pixels.

The problem is domain-incremental: every task has all classes, but other inputs.
Goodfellow et al. 2013 (arXiv 1312.6211) define the problem. Dohare et al. 2023 (arXiv
2306.13812) and Koster & Kukla 2024 (arXiv 2409.17300) use it to study plasticity.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.problems.task import MNIST, Form, Problem, Task, checksum
from trainables.randomness import generator


@attrs.frozen
class Permuted(Problem):
    """A stream in which each task permutes the pixels at random, even the first."""

    name: ClassVar[str] = "permuted"

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The name of the task is the CRC-32 of its pixel permutation.

        >>> Permuted().task(seed=0, index=3).label == Permuted().task(0, 3).label
        True
        """
        pixels = generator("stream", seed, index).permutation(form.pixels)
        return Task(checksum(pixels), tuple(range(form.classes)), pixels)
