"""The problem `gradual`: each task permutes only some more of the pixels.

The first task has the images as they are. Each later task permutes a random share of
the pixels of the task before it. So the share of pixels that have left their place
grows along the stream: after t changes, about 1 - (1 - share)^t of them have. The share
says how abrupt a change is. With share 1, each change permutes all pixels, as in the
problem `permuted`.
"""

from __future__ import annotations

import zlib
from typing import ClassVar

import attrs
import numpy as np

from trainables.hyperparameter import real
from trainables.problems.task import MNIST, Form, Problem, Task
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
        # make all earlier changes again, so that a run can resume at any task
        for change in range(1, index + 1):
            chosen = generator("stream", seed, change).permutation(form.pixels)[:count]
            pixels[np.sort(chosen)] = pixels[chosen]
        label = f"{zlib.crc32(pixels.astype('<u2').tobytes()):08x}"
        return Task(label, tuple(range(form.classes)), pixels)
