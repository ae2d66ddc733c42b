"""Run small settings of control to their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
import torch

from trainables import checkpoint
from trainables.control.base import ControlRun
from trainables.data import load
from trainables.record import Record, to_table
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


def check_resumed_and_alone(new_run: Callable[..., ControlRun]) -> list[Record]:
    """Check that a stack resumes to the last bit, and is the same as single runs.

    Return its records. `new_run` returns a new run with the seeds that it gets.
    """
    whole = finish(new_run(seeds=(5, 0)))
    first, second = (new_run(seeds=(5, 0)) for _ in range(2))
    records = [{"study": "s", "trial_id": "t"} | r for r in first.next_task()]
    records = checkpoint.unpack(checkpoint.pack(first, records), second, "s")
    assert measures(records + finish(second)) == measures(whole)
    to_table(whole)  # all columns are known
    alone = finish(new_run(seeds=(0,)))
    for a, b in zip(measures(whole[1::2]), measures(alone), strict=True):
        for name, value in a.items():
            number = isinstance(value, list | float)
            close = pytest.approx(b[name], rel=1e-6, abs=1e-9) if number else b[name]
            assert value == close, name
    return whole
