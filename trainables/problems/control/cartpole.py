"""The problem `cartpole`: levels of CartPole that differ in observations or rewards.

A pole stands on a cart, and the agent pushes the cart to the left or to the right
(gymnasium's CartPole-v1). Each step has the reward 1, until the pole falls or the cart
leaves the track. By default, each level adds another vector to the observations
(`trainables.problems.control.levels`). The dynamics stay the same, but a network must
learn the new observations. This is the continual CartPole of Muppidi et al. 2024 (arXiv
2405.16642), with the numbers of Tang et al. 2025 (arXiv 2506.00592,
bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control/control_train_aligned_vanilla.py).

With `goal_range`, each level has a goal on the track, and the reward of a step is
larger near the goal: exp(-(x - goal)^2 / (2 WIDTH^2)) at position x. If
observation_offset is also 0, all levels have the same observations, and only the
rewards differ. We chose this stream.

gymnasium steps one environment at a time. Its overhead per step is larger than the time
of a forward pass of a small network. `CartPole.step` steps an array of environments,
and a test compares it with gymnasium step by step. It follows gymnasium 1.4.0
(gymnasium/envs/classic_control/cartpole.py), which follows Barto, Sutton & Anderson
1983.
"""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import numpy as np
from numpy.random import Generator

from trainables.hyperparameter import real
from trainables.problems.control.levels import Array, Goals, Levels
from trainables.problems.task import Form
from trainables.randomness import generator

GRAVITY, POLE_MASS, HALF_LENGTH, FORCE, SECONDS = 9.8, 0.1, 0.5, 10.0, 0.02
TOTAL_MASS = POLE_MASS + 1.0  # of the pole and the cart
POLE_MOMENT = POLE_MASS * HALF_LENGTH
TRACK = 2.4
"""The episode ends when the cart is farther from the middle than this, in meters."""
ANGLE = 12 * 2 * math.pi / 360
"""The episode ends when the pole leans more than this, in radians."""
SPREAD = 0.05
"""The numbers of the first state are uniform in [-SPREAD, SPREAD]."""
WIDTH = 0.5
"""The distance from the goal in meters at which the reward is exp(-1/2)."""


@attrs.frozen(kw_only=True)
class CartPole(Levels):
    """A stream of levels of CartPole that differ in observations, rewards or both.

    A state is the position and speed of the cart, and the angle and angular speed of
    the pole. Action 1 pushes to the right, and 0 to the left.
    """

    name: ClassVar[str] = "cartpole"
    control: ClassVar[Form | None] = Form(1, 4, 1, 2)
    guess: ClassVar[float | None] = 22.1  # with random actions
    threshold: ClassVar[float] = 200.0  # half of the largest return

    goal_range: float | None = real(
        None,
        0.0,
        2.0,
        exclude_low=True,
        unit="m",
        meaning="largest distance of a level's goal from the middle; null: each step "
        "has the reward 1",
    )

    def start(self, random: Generator, copies: int, goal: Goals = None) -> Array:
        """Return the first states: see `Levels`."""
        return random.uniform(-SPREAD, SPREAD, (copies, 4))

    def step(self, state: Array, actions: Array, goals: Goals) -> tuple[Array, Array]:
        """Return the states after the actions, and whether they end the episode."""
        x, speed, angle, turn = np.moveaxis(state, -1, 0)
        force = np.where(actions == 1, FORCE, -FORCE)
        cosine, sine = np.cos(angle), np.sin(angle)
        push = (force + POLE_MOMENT * np.square(turn) * sine) / TOTAL_MASS
        turning = (GRAVITY * sine - cosine * push) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cosine) / TOTAL_MASS)
        )
        pull = push - POLE_MOMENT * turning * cosine / TOTAL_MASS
        after = np.stack(
            [
                x + SECONDS * speed,
                speed + SECONDS * pull,
                angle + SECONDS * turn,
                turn + SECONDS * turning,
            ],
            axis=-1,
        )
        ended = (np.abs(after[..., 0]) > TRACK) | (np.abs(after[..., 2]) > ANGLE)
        return after, ended

    def pay(self, after: Array, ended: Array, goals: Goals) -> Array:
        """Return 1 for each step, or less if the cart is not at a goal."""
        positions = after[..., 0]
        if goals is None:
            return np.ones_like(positions)
        return np.asarray(np.exp(-(((positions - goals) / WIDTH) ** 2) / 2))

    def goal(self, seed: int, index: int) -> Array | None:
        """Return the goal of this level, in meters from the middle, or None."""
        if self.goal_range is None:
            return None
        random = generator("goal", seed, index)
        return np.asarray(random.uniform(-self.goal_range, self.goal_range))
