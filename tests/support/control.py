"""Run small settings of control to their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from trainables.control.base import ControlRun
from trainables.data import load
from trainables.record import Record
from trainables.setting import RunOptions, Setting
from trainables.start import start_run

NOTHING = load("none")


def new_run(
    fields: Mapping[str, Any],
    seeds: Sequence[int] = (0,),
    dtype: torch.dtype = torch.float64,
    every: int = 0,
) -> ControlRun:
    """Return a run of the setting with these fields; measure every `every` levels."""
    setting, options = Setting(**fields), RunOptions(landscape_every=every)
    run = start_run(setting, seeds, NOTHING, options=options, dtype=dtype)
    assert isinstance(run, ControlRun)
    return run


def finish(run: ControlRun) -> list[Record]:
    """Train all tasks that are left, and return their records."""
    records = []
    while not run.finished:
        records += run.next_task()
    return records


def measures(records: Iterable[Record]) -> list[Record]:
    """Return the records without what differs between two equal runs."""
    skipped = ("seconds", "study", "trial_id")
    return [{k: v for k, v in r.items() if k not in skipped} for r in records]
