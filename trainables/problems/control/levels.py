"""The base class of the problems in which a network acts (chooses actions).

A task is a level: an environment that the network plays. The dynamics are equations on
arrays, so that many copies of a level are played at once. Levels can differ in three
ways:

- `observation_offset`: one vector from N(0, observation_offset^2) is added to every
  observation of the level. The first level adds nothing. This is the stream of
  Muppidi et al. 2024 (arXiv 2405.16642) and Tang et al. 2025 (arXiv 2506.00592).
- The goal, in environments that have a goal. We chose these streams.
- `odd_reward`: the rewards of levels 1, 3, 5 and so on are multiplied by this number.
  With -1, the sign of the rewards changes from level to level. With 10, their size
  changes. We chose this stream.

A new environment is one file with a class like `trainables.problems.control.grid.Grid`,
and one line in `trainables.problems.PROBLEMS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import attrs
import numpy as np
from numpy.random import Generator

from trainables.hyperparameter import real, whole
from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator

Array = np.ndarray
Goals = Array | None
"""The goals of levels, or None if the environment has no goals."""


@attrs.frozen(kw_only=True)
class Levels(Problem):
    """Base class: a stream of levels of one environment.

    For S seeds, states have the shape (S, copies, numbers), and goals (S, 1, ...).
    """

    default_tasks: ClassVar[int] = 10
    acts: ClassVar[bool] = True
    measure: ClassVar[str] = "mean_return"
    episode_steps: ClassVar[int] = 400
    """The number of steps after which an episode is cut, as in C-CHAIN."""
    threshold: ClassVar[float]
    """The mean return of an iteration at which `threshold_episodes` stops counting."""

    level_iterations: int = whole(
        200, unit="iterations", meaning="iterations (play, then learn) of each level"
    )
    iteration_steps: int = whole(
        800, unit="steps", meaning="steps of the environment in each iteration"
    )
    observation_offset: float = real(
        2.0,
        meaning="standard deviation of the vector that a level adds to observations",
    )
    odd_reward: float | None = real(
        None,
        -1000.0,
        1000.0,
        meaning="factor of the rewards of every second level; null: 1",
    )

    @property
    def examples(self) -> int:
        """The number of steps in a level."""
        return self.level_iterations * self.iteration_steps

    def start(self, random: Generator, copies: int, goal: Goals = None) -> Array:
        """Return the first states of the copies of one seed: (copies, numbers)."""
        raise NotImplementedError

    def step(self, state: Array, actions: Array, goals: Goals) -> tuple[Array, Array]:
        """Return the states after the actions, and whether they end the episode."""
        raise NotImplementedError

    def observe(self, state: Array) -> Array:
        """Return the observations of the states, without the offset, as float32."""
        return np.asarray(state.astype(np.float32))

    def pay(self, after: Array, ended: Array, goals: Goals) -> Array:
        """Return the rewards of steps to the states `after`, without `odd_reward`."""
        raise NotImplementedError

    def lose(self, before: Array, after: Array, goals: Goals) -> Array | None:
        """Return what each step loses compared to the best action: 0 or less.

        The sum over an episode that has ended is its return minus the optimal return
        from the same first state. The result is None if the best actions are not known.
        """
        return None

    def offset(self, seed: int, index: int) -> Array:
        """Return what this level adds to observations, of shape (pixels,)."""
        assert self.control is not None
        if index == 0:
            return np.zeros(self.control.pixels)
        random = generator("stream", seed, index)
        return random.normal(0, self.observation_offset, self.control.pixels)

    def goal(self, seed: int, index: int) -> Array | None:
        """Return the goal of this level, or None if the environment has no goals."""
        return None

    def goals(self, seeds: Sequence[int], index: int) -> Goals:
        """Return the goals of this level of all S seeds, of shape (S, 1, ...)."""
        goals = [goal for s in seeds if (goal := self.goal(s, index)) is not None]
        return np.stack(goals)[:, None] if goals else None

    def factor(self, index: int) -> float:
        """Return the number by which this level multiplies the rewards."""
        return 1.0 if index % 2 == 0 or self.odd_reward is None else self.odd_reward

    def guess_in(self, index: int) -> float | None:
        """Return the measure of random actions in level number `index`, from 0.

        As in the records, it has the sign of `odd_reward`, but not its size.

        >>> from trainables.problems import CartPole
        >>> CartPole(odd_reward=-10.0).guess_in(1)
        -22.1
        """
        if self.guess is None:
            return None
        return math.copysign(1.0, self.factor(index)) * self.guess

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return level number `index` (from 0) of the seed's stream.

        >>> from trainables.problems import CartPole
        >>> CartPole(odd_reward=-1.0, observation_offset=0).task(seed=0, index=1).label
        'offset 0,0,0,0 reward -1'
        """
        numbers = ",".join(f"{x:.3g}" for x in self.offset(seed, index))
        goal, factor = self.goal(seed, index), self.factor(index)
        label = f"offset {numbers}"
        if goal is not None:
            label += f" goal {','.join(f'{x:.3g}' for x in np.ravel(goal))}"
        if self.odd_reward is not None:
            label += f" reward {factor:g}"
        return Task(label, ())
