"""Learners: how a network that acts learns, other than PPO, which is the default.

A learner's hyperparameters are here, and its run in `trainables.control`. Each learner
has an entry in `LEARNERS`.
"""

from trainables.learners.dqn import DQN

LEARNERS: dict[str, type[DQN]] = {"dqn": DQN}

__all__ = ["DQN", "LEARNERS"]
