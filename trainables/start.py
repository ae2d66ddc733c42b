"""Start the run that a setting needs: one of control, or one with images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables.control.ppo_run import PPORun
from trainables.control.td import TDRun
from trainables.data import Dataset
from trainables.run import ContinualRun
from trainables.setting import Setting


def start_run(
    setting: Setting, seeds: Sequence[int], dataset: Dataset, *args: Any, **options: Any
) -> ContinualRun:
    """Return a new run of the setting. `ContinualRun` has all arguments and errors."""
    kind: type[ContinualRun] = ContinualRun
    if setting.problem.control is not None:
        kind = PPORun if setting.problem.acts else TDRun
    return kind(setting, seeds, dataset, *args, **options)
