"""The problem `gradual`: each task permutes some of the pixels of the task before it.

The first task has the images as they are. Each later task chooses pixels at random and
permutes them; `pixel_share` says how many. So the share of pixels that are not at their
first place grows along the stream: in task t, it is about 1 - (1 - pixel_share)^t. With
`pixel_share` 1, each task permutes all pixels, as in the problem `permuted`.
"""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np

from trainables.hyperparameter import real
from trainables.problems.task import MNIST, Form, Problem, Task, checksum
from trainables.randomness import generator


@attrs.frozen(kw_only=True)
class Gradual(Problem):
    """A stream in which each task permutes a share of the pixels of the task before."""

    name: ClassVar[str] = "gradual"

    pixel_share: float = real(
        0.1,
        0.0,
        1.0,
        exclude_low=True,
        unit="fraction",
        meaning="share of the pixels that each task permutes",
    )

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        The name of the task is the CRC-32 of its pixel permutation.

        >>> bool((Gradual().task(seed=0, index=0).pixels == np.arange(784)).all())
        True
        """
        pixels = np.arange(form.pixels)
        count = round(self.pixel_share * form.pixels)
        # repeat the permutations of all earlier tasks: a run can resume at any task
        for earlier in range(1, index + 1):
            chosen = generator("stream", seed, earlier).permutation(form.pixels)[:count]
            pixels[np.sort(chosen)] = pixels[chosen]
        return Task(checksum(pixels), tuple(range(form.classes)), pixels)
