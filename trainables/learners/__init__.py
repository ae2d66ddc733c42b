"""Learners: methods by which a network that chooses actions learns.

PPO is the default, and is not in this package. This package has the hyperparameters of
the other learners, and `trainables.control` has their runs. Each learner has an entry
in `LEARNERS`.
"""

from trainables.learners.dqn import DQN

LEARNERS: dict[str, type[DQN]] = {"dqn": DQN}

__all__ = ["DQN", "LEARNERS"]
