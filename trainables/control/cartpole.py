"""CartPole for many copies at once: the equations of gymnasium's CartPole-v1.

gymnasium steps one environment at a time, with an overhead per step that is larger than
a whole step of a small network. These functions step an array of environments, and a
test compares them with gymnasium step by step. They follow gymnasium 1.4.0
(gymnasium/envs/classic_control/cartpole.py), which follows Barto, Sutton & Anderson
1983.
"""

from __future__ import annotations

import math

import numpy as np

GRAVITY, POLE_MASS, HALF_LENGTH, FORCE, SECONDS = 9.8, 0.1, 0.5, 10.0, 0.02
TOTAL_MASS = POLE_MASS + 1.0  # of the pole and the cart
POLE_MOMENT = POLE_MASS * HALF_LENGTH
TRACK = 2.4
"""The episode ends when the cart is farther from the middle than this, in meters."""
ANGLE = 12 * 2 * math.pi / 360
"""The episode ends when the pole leans more than this, in radians."""
SPREAD = 0.05
"""The numbers of the first state are uniform in [-SPREAD, SPREAD]."""


def start(random: np.random.Generator, copies: int) -> np.ndarray:
    """Return the first states of this many copies, of shape (copies, 4)."""
    return random.uniform(-SPREAD, SPREAD, (copies, 4))


def step(state: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the states after the actions, and whether they end the episode.

    Args:
        state: The position and speed of the cart, and the angle and angular speed of
            the pole, of shape (..., 4), float64.
        actions: 1 pushes to the right, and 0 to the left; of shape (...).
    """
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
