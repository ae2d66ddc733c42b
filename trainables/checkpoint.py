"""A checkpoint: a run's state and its rows so far, as plain tensors and values.

It is read without unpickling code (`weights_only=True`), so that a stranger's file
cannot run any; and it is used only if it is whole and of this very run.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import torch

from trainables.record import Record, check_records
from trainables.run import ContinualRun


def pack(run: ContinualRun, records: list[Record]) -> bytes:
    """Return a run's state with its records, as `torch.load` reads it."""
    buffer = io.BytesIO()
    torch.save({"run": run.state_dict(), "records": records}, buffer)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, Any]:
    """Return what was packed, if no bit of it has changed.

    Raises:
        ValueError: It is damaged.
        Exception: It is no checkpoint: whatever zipfile and torch raise.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # torch does not look at the checksums
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} is damaged")
    whole = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(whole, dict):
        raise ValueError("no checkpoint of this program")
    return whole


def unpack(content: bytes, run: ContinualRun, study: str) -> list[Record]:
    """Bring a run to the state in a checkpoint; return its records.

    Args:
        content: The file.
        run: A run that has done nothing; it is of no use after an error.
        study: The study's name.

    Raises:
        Exception: It is damaged or not of this run (see `read`).
    """
    whole = read(content)
    state, records = whole["run"], whole["records"]
    fresh = [t.shape for t in run.network.tensors()]
    run.load_state_dict(state)
    alive, task = len(run.alive), run.task
    if not set(run.alive) <= set(run.seeds) or len(set(run.alive)) != alive:
        raise ValueError(f"the seeds alive are {run.alive}, of {run.seeds}")
    shapes = [torch.Size((alive, *shape[1:])) for shape in fresh]
    if [t.shape for t in run.network.tensors()] != shapes:
        raise ValueError("the networks have another shape")
    expected = {
        (run.setting.run_id(seed), number)
        for seed in run.seeds
        for number in range(task)
    }
    held = [(row["run_id"], row["task"]) for row in records]
    if set(held) != expected or len(held) != len(expected):
        raise ValueError("its rows are not those of its tasks")
    check_records(records)
    if any(row["study"] != study for row in records):
        raise ValueError("its rows are of another study")
    return list(records)
