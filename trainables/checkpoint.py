"""A checkpoint: the state of a run and its records so far, as plain tensors and values.

Reading a checkpoint does not unpickle code (`weights_only=True`), so that a malicious
file cannot run code. A checkpoint is used only if it is undamaged and belongs to the
same run.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import torch

from trainables.record import Record, check_records
from trainables.run import ContinualRun


def pack(run: ContinualRun, records: list[Record]) -> bytes:
    """Return the bytes of a file with a run's state and records, for `torch.load`."""
    buffer = io.BytesIO()
    torch.save({"run": run.state_dict(), "records": records}, buffer)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, Any]:
    """Return the state ("run") and the records ("records") of a checkpoint.

    Raises:
        ValueError: The file is damaged or was written by another program.
        Exception: The file is not a checkpoint: zipfile and torch can raise anything.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # torch does not verify checksums
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} is damaged")
    parts = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(parts, dict):
        raise ValueError("not a checkpoint of this program")
    return parts


def unpack(content: bytes, run: ContinualRun, study: str) -> list[Record]:
    """Load a checkpoint into `run`, a new run of the study; return its records.

    After an error, `run` must not be used any more.

    Raises:
        ValueError: The checkpoint belongs to another run or study.
        Exception: The file is damaged or is not a checkpoint: see `read`.
    """
    parts = read(content)
    records: list[Record] = parts["records"]
    shapes = [tensor.shape[1:] for tensor in run.network.tensors()]
    run.load_state_dict(parts["run"])
    alive = len(run.alive)
    if len(set(run.alive) & set(run.seeds)) != alive:
        raise ValueError(f"seeds {run.alive} are alive, but the run has {run.seeds}")
    if [t.shape for t in run.network.tensors()] != [(alive, *s) for s in shapes]:
        raise ValueError("the networks in the checkpoint have another shape")
    expected = [(run.setting.run_id(s), i) for s in run.seeds for i in range(run.task)]
    if sorted((row["run_id"], row["task"]) for row in records) != sorted(expected):
        raise ValueError("the records do not match the run's finished tasks")
    check_records(records)
    if any(row["study"] != study for row in records):
        raise ValueError("the records belong to another study")
    return records
