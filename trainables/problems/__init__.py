"""Problems (streams of tasks). Each problem has a file and an entry in `PROBLEMS`."""

from trainables.problems.pairwise import Pairwise
from trainables.problems.permuted import Permuted
from trainables.problems.random_labels import RandomLabels
from trainables.problems.task import CLASSES, PIXELS, Problem, Task

PROBLEMS: dict[str, type[Problem]] = {
    "permuted": Permuted,
    "pairwise": Pairwise,
    "random-labels": RandomLabels,
}

__all__ = [
    "CLASSES",
    "PIXELS",
    "PROBLEMS",
    "Pairwise",
    "Permuted",
    "Problem",
    "RandomLabels",
    "Task",
]
