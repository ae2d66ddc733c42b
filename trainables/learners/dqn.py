"""DQN: a deep Q-network with replay and a target network (Mnih et al. 2015).

Mnih, V. et al. Human-level control through deep reinforcement learning. Nature 518,
529-533 (https://doi.org/10.1038/nature14236). The defaults are those of CleanRL for
CartPole (vwxyzjn/cleanrl@fe8d8a0, cleanrl/dqn.py:44-72). The paper learns Atari games.
It keeps the last 1,000,000 steps, and renews the target network every 10,000 updates.
`trainables.control.dqn_run` says where our code differs from both.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import whole


@attrs.frozen(kw_only=True)
class DQN:
    """Learn the value of each action from stored steps, and prefer the best action."""

    name: ClassVar[str] = "dqn"
    steps_per_update: ClassVar[int] = 8
    """The steps of the environment between two updates: one in each of 8 copies."""

    replay_size: int = whole(
        10_000, 8, unit="steps", meaning="dqn: the last steps of a level that are kept"
    )
    replay_start: int = whole(
        1000, unit="steps", meaning="dqn: steps of a level before the first update"
    )
    target_steps: int = whole(
        500, unit="steps", meaning="dqn: steps between two copies to the target network"
    )
