"""Save a run in a checkpoint, and load the checkpoint to resume the run.

A checkpoint contains the state of a run and the records of its finished tasks, as
tensors and plain values. `torch.load` reads it with `weights_only=True`, so a malicious
file cannot execute code.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import torch

from trainables.record import Record, check_records
from trainables.run import ContinualRun


def pack(run: ContinualRun, records: list[Record]) -> bytes:
    """Return a checkpoint, as bytes, of the run's state and these records."""
    buffer = io.BytesIO()
    torch.save({"run": run.state_dict(), "records": records}, buffer)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, Any]:
    """Return the state ("run") and the records ("records") in a checkpoint.

    Raises:
        ValueError: The checkpoint is damaged, or another program wrote it.
        Exception: `content` is not a checkpoint. zipfile and torch can raise any error.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # torch.load does not verify the checksums in the archive
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} in the checkpoint is damaged")
    parts = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(parts, dict):
        raise ValueError("the file is not a checkpoint of this program")
    return parts


def unpack(content: bytes, run: ContinualRun, study: str) -> list[Record]:
    """Load a checkpoint into `run` and return the records in the checkpoint.

    `run` must be a new run of the study. After an error, do not use `run`, because its
    state can be incomplete.

    Raises:
        UsageError: The checkpoint belongs to another setting or to other seeds.
        ValueError: The checkpoint does not fit the run, or belongs to another study.
        Exception: The checkpoint is damaged or is not a checkpoint: see `read`.
    """
    parts = read(content)
    records: list[Record] = parts["records"]
    shapes = [tensor.shape[1:] for tensor in run.network.tensors()]
    run.load_state_dict(parts["run"])
    alive = len(run.alive)
    if len(set(run.alive) & set(run.seeds)) != alive:
        raise ValueError(
            f"the checkpoint has networks of seeds {run.alive}, but the run has seeds "
            f"{run.seeds}"
        )
    if [t.shape for t in run.network.tensors()] != [(alive, *s) for s in shapes]:
        raise ValueError(
            "the layers of the run have other sizes than the layers in the checkpoint"
        )
    expected = [(run.setting.run_id(s), i) for s in run.seeds for i in range(run.task)]
    if sorted((row["run_id"], row["task"]) for row in records) != sorted(expected):
        raise ValueError(
            "the records in the checkpoint do not match the finished tasks of the run"
        )
    check_records(records)
    if any(row["study"] != study for row in records):
        raise ValueError("the records in the checkpoint belong to another study")
    return records
