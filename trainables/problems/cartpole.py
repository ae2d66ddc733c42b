"""The problem `cartpole`: each task adds another vector to all observations.

A pole stands on a cart, and the agent pushes the cart to the left or to the right
(gymnasium's CartPole-v1). Each step has the reward 1, until the pole falls or the cart
leaves the track. In each task (a level), one vector from N(0, observation_offset^2) is
added to every observation, and the first level adds nothing. The dynamics stay the
same, but a network must learn the new observations. This is the continual CartPole of
Muppidi et al. 2024 (arXiv 2405.16642), with the numbers of Tang et al. 2025 (arXiv
2506.00592,
bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control/control_train_aligned_vanilla.py).

With `goal_range`, each level has a goal on the track, and the reward of a step is
larger near the goal: exp(-(x - goal)^2 / (2 WIDTH^2)) at position x. With
observation_offset 0, observations then stay as they are, and only the rewards change.
We chose this stream.
"""

from __future__ import annotations

from typing import ClassVar

import attrs
import numpy as np

from trainables.hyperparameter import real, whole
from trainables.problems.task import MNIST, Form, Problem, Task
from trainables.randomness import generator

WIDTH = 0.5
"""The distance from the goal in meters at which the reward is exp(-1/2)."""


@attrs.frozen(kw_only=True)
class CartPole(Problem):
    """A stream of levels of CartPole that differ in observations, rewards or both."""

    name: ClassVar[str] = "cartpole"
    default_tasks: ClassVar[int] = 10
    control: ClassVar[Form | None] = Form(1, 4, 1, 2)
    acts: ClassVar[bool] = True
    measure: ClassVar[str] = "mean_return"
    guess: ClassVar[float | None] = 22.1  # with random actions

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

    goal_range: float | None = real(
        None,
        0.0,
        2.0,
        exclude_low=True,
        unit="m",
        meaning="largest distance of a level's goal from the middle; null: each step "
        "has the reward 1",
    )

    @property
    def examples(self) -> int:
        """The number of steps in a level."""
        return self.level_iterations * self.iteration_steps

    def offset(self, seed: int, index: int) -> np.ndarray:
        """Return the vector that level number `index` adds, of shape (4,)."""
        assert self.control is not None
        if index == 0:
            return np.zeros(self.control.pixels)
        random = generator("stream", seed, index)
        return random.normal(0, self.observation_offset, self.control.pixels)

    def goal(self, seed: int, index: int) -> float | None:
        """Return the goal of level number `index` in meters from the middle, if any."""
        if self.goal_range is None:
            return None
        random = generator("goal", seed, index)
        return float(random.uniform(-self.goal_range, self.goal_range))

    def rewards(self, positions: np.ndarray, seed: int, index: int) -> np.ndarray:
        """Return the rewards of steps that end at these positions of the cart."""
        goal = self.goal(seed, index)
        if goal is None:
            return np.ones_like(positions)
        return np.exp(-(((positions - goal) / WIDTH) ** 2) / 2)

    def task(self, seed: int, index: int, form: Form = MNIST) -> Task:
        """Return level number `index` (from 0) of the seed's stream.

        >>> CartPole().task(seed=0, index=0).label
        'offset 0,0,0,0'
        """
        numbers = ",".join(f"{x:.3g}" for x in self.offset(seed, index))
        goal = self.goal(seed, index)
        paid = "" if goal is None else f" goal {goal:.3g}"
        return Task(f"offset {numbers}{paid}", ())
