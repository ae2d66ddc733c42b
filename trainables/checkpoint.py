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

from trainables.joint import JointRun
from trainables.record import Record, check_records
from trainables.request import stack_name
from trainables.run import ContinualRun
from trainables.setting import digest


def pack(run: ContinualRun | JointRun, records: list[Record]) -> bytes:
    """Return a checkpoint, as bytes, of the run's state and these records."""
    return _serialize([each.state_dict() for each in run.runs], records)


def _serialize(states: list[dict[str, Any]], records: list[Record]) -> bytes:
    buffer, (first, *others) = io.BytesIO(), states
    torch.save({"run": first, "others": others, "records": records}, buffer)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, Any]:
    """Return the parts of a checkpoint.

    They are the state of the run ("run"), the records ("records") and, if several
    settings train together, the states of the other runs ("others").

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


def split(content: bytes) -> dict[str, bytes]:
    """Split a checkpoint into one checkpoint for each setting, by the stack's name.

    Raises:
        Exception: The checkpoint is damaged: see `read`.
    """
    parts = read(content)
    result = {}
    for state in [parts["run"], *parts.get("others", [])]:
        setting_id = digest(state["setting"])
        own = [row for row in parts["records"] if row["setting_id"] == setting_id]
        result[stack_name(setting_id, state["seeds"])] = _serialize([state], own)
    return result


def unpack(content: bytes, run: ContinualRun | JointRun, study: str) -> list[Record]:
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
    states = [parts["run"], *parts.get("others", [])]
    if len(states) != len(run.runs):
        raise ValueError(
            f"the checkpoint has {len(states)} settings, but the run has "
            f"{len(run.runs)}"
        )
    for each, state in zip(run.runs, states, strict=True):
        _load(each, state)
    if len({each.task for each in run.runs}) > 1:
        raise ValueError(
            "the settings in the checkpoint have finished different numbers of tasks"
        )
    expected = [
        (each.setting.run_id(seed), task)
        for each in run.runs
        for seed in each.seeds
        for task in range(run.task)
    ]
    if sorted((row["run_id"], row["task"]) for row in records) != sorted(expected):
        raise ValueError(
            "the records in the checkpoint do not match the finished tasks of the run"
        )
    check_records(records)
    if any(row["study"] != study for row in records):
        raise ValueError("the records in the checkpoint belong to another study")
    return records


def _load(run: ContinualRun, state: dict[str, Any]) -> None:
    """Load a state into a new run of one setting. `unpack` has the errors."""
    shapes = [tensor.shape[1:] for tensor in run.network.tensors()]
    run.load_state_dict(state)
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
