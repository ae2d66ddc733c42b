"""The problem `grid`: a grid world whose goal moves from level to level.

An agent on a grid of SIDE x SIDE places goes up, down, left or right. If the step would
leave the grid, the agent stays where it is. Each step has the reward -1, and the
episode ends when the agent is at the goal. Each level draws a new goal, which the
observations do not show: the agent sees only its row and its column. So all levels have
the same dynamics and observations, and differ only in the step that ends an episode. We
chose this stream.

The optimal return from a place is minus the distance of the place from the goal. So the
return of a network can be compared with the optimal return exactly (`return_gap`).
"""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np
from numpy.random import Generator

from trainables.hyperparameter import real
from trainables.problems.control.levels import Array, Goals, Levels
from trainables.problems.task import Form
from trainables.randomness import generator

SIDE = 7
"""The number of rows and of columns of the grid."""
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
"""The change of row and column of each action: up, down, left and right."""


@attrs.frozen(kw_only=True)
class Grid(Levels):
    """A stream of grid worlds, each with a goal drawn at random.

    A state is the row and the column of the agent. An episode begins at any place
    except the goal.
    """

    name: ClassVar[str] = "grid"
    control: ClassVar[Form | None] = Form(1, 2 * SIDE, 1, len(MOVES))
    measure: ClassVar[str] = "return_gap"
    guess: ClassVar[float | None] = -61.0  # with random actions
    episode_steps: ClassVar[int] = 100
    threshold: ClassVar[float] = -20.0

    observation_offset: float = real(
        0.0,
        meaning="standard deviation of the vector that a level adds to observations",
    )
    # with a negative factor, the best agent would avoid the goal to get more rewards
    odd_reward: float | None = real(
        None,
        0.0,
        1000.0,
        exclude_low=True,
        meaning="factor of the rewards of every second level; null: 1",
    )

    def start(self, random: Generator, copies: int, goal: Goals = None) -> Array:
        """Return random places other than the goal, all equally likely."""
        assert goal is not None
        places = random.integers(SIDE**2 - 1, size=copies)
        places += places >= goal @ (SIDE, 1)
        return np.stack(np.divmod(places, SIDE), axis=-1).astype(float)

    def step(self, state: Array, actions: Array, goals: Goals) -> tuple[Array, Array]:
        """Return the places after the actions, and whether they are the goal."""
        after = (state + MOVES[actions]).clip(0, SIDE - 1)
        return after, (after == goals).all(axis=-1)

    def observe(self, state: Array) -> Array:
        """Return the row and the column of each state as joined one-hot vectors."""
        places = np.eye(SIDE, dtype=np.float32)[state.astype(int)]
        return np.asarray(places.reshape(*state.shape[:-1], 2 * SIDE))

    def pay(self, after: Array, ended: Array, goals: Goals) -> Array:
        """Return -1 for each step."""
        return np.full(ended.shape, -1.0)

    def lose(self, before: Array, after: Array, goals: Goals) -> Array | None:
        """Return 0 for a step towards the goal, -2 for a step away, -1 for no move."""
        nearer = self.distance(before, goals) - self.distance(after, goals)
        return np.asarray(nearer - 1)

    def distance(self, state: Array, goals: Goals) -> Array:
        """Return the number of steps from the places to the goals."""
        assert goals is not None
        return np.asarray(np.abs(state - goals).sum(axis=-1))

    def goal(self, seed: int, index: int) -> Array | None:
        """Return the row and the column of the goal of this level."""
        return generator("goal", seed, index).integers(SIDE, size=2).astype(float)
