"""The problem `random-labels`: all tasks have the same images, with new random labels.

The labels do not depend on what the images show, so the network can only memorize them.
Accuracy is measured on the training images. Zhang et al. 2017 (arXiv 1611.03530) fit
random labels. Lyle et al. 2023 (arXiv 2303.01486) and Kumar et al. 2023 (arXiv
2308.11958) use a stream of such tasks to study plasticity.

As in the code of Kumar et al., each task shuffles the true labels of its images. All
tasks therefore have equally many images of each label
(skumar9876/L2_Init@3f86d26:environments/random_label_envs.py:70-74).
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.problems.task import MNIST, Form, Problem, Task


@attrs.frozen
class RandomLabels(Problem):
    """A stream in which each task shuffles the labels of the images, even the first.

    `Setting.examples` is the number of images. Kumar et al. use 1200. A seed has the
    same images in all tasks.
    """

    name: ClassVar[str] = "random-labels"
    default_tasks: ClassVar[int] = 50

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        >>> RandomLabels().task(seed=0, index=3).label
        'shuffle 3'
        """
        return Task(f"shuffle {index}", tuple(range(form.classes)), shuffled=True)
