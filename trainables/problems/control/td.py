"""The problem `td`: the values of a random walk, with new rewards in each task.

A walker on a grid of SIDE x SIDE places goes to a random neighbor at each step. If the
step would leave the grid, the walker stays where it is. Each place has a reward, which
every step from this place gives. In each task, the rewards are new numbers from
N(0, 1). The network learns the value of each place: the expected discounted sum of the
rewards. As with PPO and DQN, the network learns from its own estimates (temporal
differences, Sutton 1988). But it chooses no actions, so nothing has to be explored, and
the true values are the solution of linear equations. Lyle et al. 2022 (arXiv
2204.09560) study targets that move in this way.
"""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np

from trainables.hyperparameter import real, whole
from trainables.problems.control.grid import MOVES
from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator

SIDE = 10
"""The number of rows and of columns of the grid."""
PLACES = np.stack(np.divmod(np.arange(SIDE**2), SIDE), axis=-1)
"""The row and the column of each place, of shape (SIDE^2, 2)."""


def neighbors() -> np.ndarray:
    """Return the places after a step up, down, left and right, (SIDE^2, 4).

    >>> neighbors()[0].tolist()
    [0, 10, 0, 1]
    """
    after = (PLACES[:, None] + MOVES).clip(0, SIDE - 1)
    return np.asarray(after @ (SIDE, 1))


def observations() -> np.ndarray:
    """Return the row and the column of each place as joined one-hot vectors.

    The shape is (SIDE^2, 2 SIDE).
    """
    return np.asarray(np.eye(SIDE)[PLACES].reshape(-1, 2 * SIDE))


@attrs.frozen(kw_only=True)
class TD(Problem):
    """A stream of random walks that differ in their rewards."""

    name: ClassVar[str] = "td"
    outputs: ClassVar[int] = 1
    control: ClassVar[Form | None] = Form(1, 2 * SIDE, 1, 1)
    measure: ClassVar[str] = "value_error"
    guess: ClassVar[float | None] = 1.0  # if all values are 0

    td_steps: int = whole(
        10_000, unit="steps", meaning="steps of the walk in each task"
    )
    discount: float = real(
        0.9, 0.0, 1.0, exclude_high=True, meaning="factor of the next step's value"
    )

    @property
    def examples(self) -> int:
        """The number of steps in a task."""
        return self.td_steps

    def rewards(self, seed: int, index: int) -> np.ndarray:
        """Return the reward of a step from each place, in task number `index`."""
        return generator("stream", seed, index).normal(size=SIDE**2)

    def values(self, seed: int, index: int) -> np.ndarray:
        """Return the true value v of each place: v = r + discount P v.

        P has the probabilities of a step from each place to each place.
        """
        step = np.zeros((SIDE**2, SIDE**2))
        for after in neighbors().T:
            step[np.arange(SIDE**2), after] += 1 / 4
        equations = np.eye(SIDE**2) - self.discount * step
        return np.linalg.solve(equations, self.rewards(seed, index))

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return task number `index` (from 0) of the seed's stream.

        >>> TD().task(seed=0, index=3).label
        'rewards 3'
        """
        return Task(f"rewards {index}", ())
