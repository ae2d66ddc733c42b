"""Problems, which are streams of tasks: one file each, and one line below."""

from trainables.problems.pairwise import Pairwise
from trainables.problems.permuted import Permuted
from trainables.problems.task import CLASSES, PIXELS, Problem, Task

PROBLEMS: dict[str, type[Problem]] = {
    "permuted": Permuted,
    "pairwise": Pairwise,
}

__all__ = ["CLASSES", "PIXELS", "PROBLEMS", "Pairwise", "Permuted", "Problem", "Task"]
