"""Start the run that a setting needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables.control.dqn_run import DQNRun
from trainables.control.ppo_run import PPORun
from trainables.control.td import TDRun
from trainables.data import Dataset
from trainables.joint import JointRun
from trainables.run import ContinualRun
from trainables.setting import Setting

RUNS: dict[str, type[ContinualRun]] = {"td": TDRun}
"""The runs of control in which the network chooses no actions, by problem."""

LEARNER_RUNS: dict[str | None, type[ContinualRun]] = {None: PPORun, "dqn": DQNRun}
"""The runs in which the network chooses actions, by the name of the learner."""


def start_run(
    setting: Setting, seeds: Sequence[int], dataset: Dataset, *args: Any, **options: Any
) -> ContinualRun:
    """Return a new run of the setting. `ContinualRun` has all arguments and errors."""
    kind = RUNS.get(setting.problem.name, ContinualRun)
    if setting.problem.acts:
        kind = LEARNER_RUNS[setting.learner.name if setting.learner else None]
    return kind(setting, seeds, dataset, *args, **options)


def start_trial(
    settings: Sequence[Setting], seeds: Sequence[int], *args: Any, **options: Any
) -> ContinualRun | JointRun:
    """Return a new run of one setting, or of several settings that train together.

    `JointRun` has all arguments and errors.
    """
    if len(settings) > 1:
        return JointRun(settings, seeds, *args, **options)
    return start_run(settings[0], seeds, *args, **options)
