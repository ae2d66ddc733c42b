"""Problems (streams of tasks). Each problem has a file and an entry in `PROBLEMS`."""

from trainables.problems.accumulating import Accumulating
from trainables.problems.class_pairs import ClassPairs
from trainables.problems.control.acrobot import Acrobot
from trainables.problems.control.cartpole import CartPole
from trainables.problems.control.grid import Grid
from trainables.problems.control.levels import Levels
from trainables.problems.control.td import TD
from trainables.problems.gradual import Gradual
from trainables.problems.growing import Growing
from trainables.problems.label_permuted import LabelPermuted
from trainables.problems.pairwise import Pairwise
from trainables.problems.pairwise_oriented import PairwiseOriented
from trainables.problems.permuted import Permuted
from trainables.problems.random_labels import RandomLabels
from trainables.problems.rotating import Rotating
from trainables.problems.task import MNIST, Form, Problem, Task

PROBLEMS: dict[str, type[Problem]] = {
    "permuted": Permuted,
    "pairwise": Pairwise,
    "pairwise-oriented": PairwiseOriented,
    "gradual": Gradual,
    "label-permuted": LabelPermuted,
    "random-labels": RandomLabels,
    "accumulating": Accumulating,
    "class-pairs": ClassPairs,
    "rotating": Rotating,
    "growing": Growing,
    "cartpole": CartPole,
    "acrobot": Acrobot,
    "grid": Grid,
    "td": TD,
}

__all__ = [
    "MNIST",
    "PROBLEMS",
    "TD",
    "Accumulating",
    "Acrobot",
    "CartPole",
    "ClassPairs",
    "Form",
    "Gradual",
    "Grid",
    "Growing",
    "LabelPermuted",
    "Levels",
    "Pairwise",
    "PairwiseOriented",
    "Permuted",
    "Problem",
    "RandomLabels",
    "Rotating",
    "Task",
]
