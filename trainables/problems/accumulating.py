"""The problem `accumulating`: each task has the images of the task before, and more.

Each seed shuffles the training images and splits them into `chunks` equal parts. Task t
has the first t + 1 parts. The relation between images and labels stays the same, and
only the number of images grows. Lee et al. 2023 (arXiv 2306.10711) measure input
plasticity with this stream, and label plasticity with changing labels (as in
`label-permuted`). They find that SAM helps input plasticity, but hardly helps label
plasticity.

With `chunks` 2 and two tasks, the stream is the warm start of Ash & Adams 2020 (arXiv
1910.08475): a network learns half of the images, then all of them.

In the code of Lee et al. (dojeon-ai/PLASTIC@3736071,
synthetic/input_adaptation.py:205-248), all tasks have equally many updates, on batches
of all images so far. Here, a task has `Setting.epochs` passes over its images. If
`Setting.examples` is given, each task draws that many of its images, so that all tasks
with enough images also have equally many updates.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import whole
from trainables.problems.task import MNIST, Form, Problem, Task


@attrs.frozen(kw_only=True)
class Accumulating(Problem):
    """A stream in which each task has all images of the task before, and some more.

    From task number `chunks` - 1 on, all tasks have all images.
    """

    name: ClassVar[str] = "accumulating"

    chunks: int = whole(
        100,
        unit="tasks",
        meaning="number of tasks until a task has all training images",
    )

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        >>> Accumulating(chunks=4).task(seed=0, index=2).label
        '3 of 4 parts'
        """
        parts = min(index + 1, self.chunks)
        label = f"{parts} of {self.chunks} parts"
        return Task(label, tuple(range(form.classes)), share=parts / self.chunks)
