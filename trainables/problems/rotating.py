"""The problem `rotating`: each task turns the images a little more.

Neighboring pixels stay neighbors, which convolutions need. Lopez-Paz & Ranzato 2017
(arXiv 1706.08840) use such a stream. Their code
(facebookresearch/GradientEpisodicMemory, data/mnist_rotations.py) splits the range of
angles into one part per task, and draws each task's angle from its part. Here, the
angle is 0 in the first task, and grows by the same step from task to task. So all
changes are equally large, and all seeds have the same images.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.problems.task import MNIST, Form, Problem, Task


@attrs.frozen(kw_only=True)
class Rotating(Problem):
    """A stream whose tasks turn the images further and further."""

    name: ClassVar[str] = "rotating"

    degrees: float = real(
        2.0,
        0.0,
        180.0,
        exclude_low=True,
        unit="degrees",
        meaning="angle by which each task turns the images, counterclockwise",
    )

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        >>> Rotating(degrees=2.5).task(seed=0, index=3).label
        '7.5 degrees'
        """
        angle = index * self.degrees % 360
        return Task(f"{angle:g} degrees", tuple(range(form.classes)), angle=angle)
