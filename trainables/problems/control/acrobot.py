"""The problem `acrobot`: levels of Acrobot that differ in observations or rewards.

Two links hang from a fixed point, and the agent turns the joint between them. An
episode ends when the free end is high enough. The last step then has the reward 0, and
each other step has the reward -1. By default, each level adds another vector to the
observations (`trainables.problems.control.levels`), as in the continual Acrobot of
Muppidi et al. 2024 (arXiv 2405.16642) and Tang et al. 2025 (arXiv 2506.00592,
bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control/control_train_aligned_vanilla.py).

The equations are those of gymnasium's Acrobot-v1 (1.4.0,
gymnasium/envs/classic_control/acrobot.py:216-293), which follows Sutton & Barto's book:
both links are 1 m long, have the mass 1 kg in their middle and the moment of inertia 1.
Episodes are cut at 400 steps as in C-CHAIN, not at 500.
"""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import numpy as np
from numpy.random import Generator

from trainables.problems.control.levels import Array, Goals, Levels
from trainables.problems.task import Form

GRAVITY, CENTER, SECONDS = 9.8, 0.5, 0.2
FASTEST = np.array([4 * math.pi, 9 * math.pi])
"""The largest angular speeds of the two joints, in radians per second."""
SPREAD = 0.1
"""The numbers of the first state are uniform in [-SPREAD, SPREAD]."""


@attrs.frozen(kw_only=True)
class Acrobot(Levels):
    """A stream of levels of Acrobot that differ in observations, rewards or both.

    A state is the angle of the first link from straight down, the angle of the second
    link from the first, and their angular speeds. Actions 0, 1 and 2 are the torques
    -1, 0 and 1.
    """

    name: ClassVar[str] = "acrobot"
    control: ClassVar[Form | None] = Form(1, 6, 1, 3)
    guess: ClassVar[float | None] = -398.0  # with random actions
    threshold: ClassVar[float] = -200.0  # minus half of the longest episode

    def start(self, random: Generator, copies: int, goal: Goals = None) -> Array:
        """Return the first states: see `Levels`."""
        return random.uniform(-SPREAD, SPREAD, (copies, 4))

    def step(self, state: Array, actions: Array, goals: Goals) -> tuple[Array, Array]:
        """Return the states after a Runge-Kutta step, and whether they end the episode.

        The episode ends if the free end is more than 1 m above the fixed point.
        """
        torque = np.asarray(actions, float) - 1
        k1 = _change(state, torque)
        k2 = _change(state + SECONDS / 2 * k1, torque)
        k3 = _change(state + SECONDS / 2 * k2, torque)
        k4 = _change(state + SECONDS * k3, torque)
        after = state + SECONDS / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles = after[..., :2]
        turns = np.ceil((np.abs(angles) - math.pi) / (2 * math.pi)).clip(0)
        angles = angles - np.sign(angles) * turns * (2 * math.pi)
        speeds = after[..., 2:].clip(-FASTEST, FASTEST)
        height = -np.cos(angles[..., 0]) - np.cos(angles[..., 1] + angles[..., 0])
        return np.concatenate([angles, speeds], axis=-1), height > 1.0

    def observe(self, state: Array) -> Array:
        """Return cosine and sine of both angles, and the angular speeds, as float32."""
        angles = state[..., :2]
        pairs = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        flat = pairs.reshape(*state.shape[:-1], 4)
        return np.concatenate([flat, state[..., 2:]], axis=-1).astype(np.float32)

    def pay(self, after: Array, ended: Array, goals: Goals) -> Array:
        """Return -1 for each step, and 0 for a step that ends the episode."""
        return np.where(ended, 0.0, -1.0)


def _change(state: Array, torque: Array) -> Array:
    """Return the derivative of the state with respect to time."""
    first, second, speed, turn = np.moveaxis(state, -1, 0)
    cosine, sine = np.cos(second), np.sin(second)
    d1 = CENTER**2 + (1 + CENTER**2 + 2 * CENTER * cosine) + 2.0
    d2 = CENTER**2 + CENTER * cosine + 1.0
    phi2 = CENTER * GRAVITY * np.cos(first + second - math.pi / 2)
    phi1 = (
        -CENTER * np.square(turn) * sine
        - 2 * CENTER * turn * speed * sine
        + (CENTER + 1) * GRAVITY * np.cos(first - math.pi / 2)
        + phi2
    )
    turning = (torque + d2 / d1 * phi1 - CENTER * np.square(speed) * sine - phi2) / (
        CENTER**2 + 1.0 - np.square(d2) / d1
    )
    speeding = -(d2 * turning + phi1) / d1
    return np.stack([speed, turn, speeding, turning], axis=-1)
