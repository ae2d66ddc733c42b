"""Levels: base class of the problems in which a network acts (chooses actions).

A task (a level) is an environment that the network plays. The dynamics are equations on
arrays, so that many copies are played at once. Levels can differ in three ways:

- `observation_offset`: one vector from N(0, observation_offset^2) is added to every
  observation of the level. The first level adds nothing. This is the stream of
  Muppidi et al. 2024 (arXiv 2405.16642) and Tang et al. 2025 (arXiv 2506.00592).
- The goal, in environments that have one. We chose these streams.
- `odd_reward`: the rewards of every second level (numbers 1, 3, ...) are multiplied by
  this number. With -1, the sign of the rewards changes from level to level. With 10,
  their size changes. We chose this stream.

A new environment is one file with a class like `trainables.problems.control.grid.Grid`,
and one line in `trainables.problems.PROBLEMS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
import numpy as np

from trainables.hyperparameter import real, whole
from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator


@attrs.frozen(kw_only=True)
class Levels(Problem):
    """Base class: a stream of levels of one environment.

    States have the shape (..., numbers), and goals a shape that broadcasts against it.
    """

    default_tasks: ClassVar[int] = 10
    acts: ClassVar[bool] = True
    measure: ClassVar[str] = "mean_return"
    episode_steps: ClassVar[int] = 400
    """The number of steps after which an episode is cut (C-CHAIN, `max_timesteps`)."""
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

    def start(
        self, random: np.random.Generator, copies: int, goal: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the first states of this many copies, of shape (copies, numbers).

        `goal` is the goal of the seed's level, if the environment has goals.
        """
        raise NotImplementedError

    def step(
        self, state: np.ndarray, actions: np.ndarray, goals: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the states after the actions (...), and whether they end the episode.

        `goals` are the goals of the level, or None if the environment has no goals.
        """
        raise NotImplementedError

    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return what the network sees of the states, without offset, as float32."""
        return np.asarray(state.astype(np.float32))

    def pay(
        self, after: np.ndarray, ended: np.ndarray, goals: np.ndarray | None
    ) -> np.ndarray:
        """Return the rewards of steps to the states `after`, without `odd_reward`."""
        raise NotImplementedError

    def lose(
        self, before: np.ndarray, after: np.ndarray, goals: np.ndarray | None
    ) -> np.ndarray | None:
        """Return what each step loses compared to the best action, or None.

        A loss is 0 or negative. The sum over an episode that has ended is its return
        minus the optimal return from the same first state. The result is None if the
        best actions are not known.
        """
        return None

    def offset(self, seed: int, index: int) -> np.ndarray:
        """Return the vector that level number `index` adds, of shape (pixels,)."""
        assert self.control is not None
        if index == 0:
            return np.zeros(self.control.pixels)
        random = generator("stream", seed, index)
        return random.normal(0, self.observation_offset, self.control.pixels)

    def goal(self, seed: int, index: int) -> np.ndarray | None:
        """Return the goal of the seed's level number `index`, or None without goals."""
        return None

    def goals(self, seeds: Sequence[int], index: int) -> np.ndarray | None:
        """Return the goals of the seeds, of shape (S, 1, ...), or None."""
        goals = [goal for s in seeds if (goal := self.goal(s, index)) is not None]
        return np.stack(goals)[:, None] if goals else None

    def factor(self, index: int) -> float:
        """Return the number by which level number `index` multiplies the rewards."""
        return 1.0 if index % 2 == 0 or self.odd_reward is None else self.odd_reward

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
