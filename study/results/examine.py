"""What a file of records holds, and whether it is whole: nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.record import SCHEMA_VERSION, WHAT, misfit, version
from trainables.setting import Row, digest


@dataclass(frozen=True)
class Run:
    """One run's rows in a file.

    Attributes:
        setting_id: Of its setting.
        setting: The setting's row.
        seed: Its seed.
        diverged: Whether it did.
        seconds: How long its tasks took.
    """

    setting_id: str
    setting: Row
    seed: int
    diverged: bool
    seconds: float


@dataclass(frozen=True)
class Held:
    """What a file of records holds.

    Attributes:
        name: The file's.
        runs: By run_id.
        faults: Why it is not to be used, in a few words each; none: it is whole.
        newer: Whether a newer version of this program wrote it.
    """

    name: str
    runs: dict[str, Run] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    newer: bool = False


def examine(name: str, content: bytes) -> Held:
    """Return what a file holds."""
    try:
        source = pa.BufferReader(content)
        with pq.ParquetFile(source, page_checksum_verification=True) as parquet:
            if fault := misfit(parquet.schema_arrow):
                newer = version(parquet.schema_arrow) > SCHEMA_VERSION
                return Held(name, {}, (fault,), newer)
            table = parquet.read(use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        text = str(error).strip().splitlines()[0].rstrip(".")
        return Held(name, {}, (f"cannot be read as Parquet: {text}",))
    return _judge(name, table)


def _judge(name: str, table: pa.Table) -> Held:
    """Return what a table of records holds."""
    if not table.num_rows:
        return Held(name, {}, ("has no rows",))
    known = [column for column in WHAT if column in table.column_names]
    who = ["run_id", "setting_id", "seed", *known]
    counted = table.group_by(who).aggregate(
        [
            ("task", "count"),
            ("task", "count_distinct"),
            ("task", "min"),
            ("task", "max"),
            ("diverged", "any"),
            ("seconds", "sum"),
        ]
    )
    runs: dict[str, Run] = {}
    faults: list[str] = []
    for row in counted.to_pylist():
        setting = {column: row[column] for column in known}
        run_id, label = row["run_id"], f"run {row['run_id']} (seed {row['seed']})"
        if digest(setting | {"seed": row["seed"]}) != run_id:
            faults.append(f"{label}: its columns are another run's")
        elif digest(setting) != row["setting_id"]:
            faults.append(f"{label}: its setting_id is another setting's")
        elif row["task_count"] > row["task_count_distinct"]:
            faults.append(f"{label}: has a task twice")
        elif _tasks(row) != (row["tasks"], 0, row["tasks"] - 1):
            there = row["task_count_distinct"]
            faults.append(f"{label}: has {there} of its {row['tasks']} tasks")
        runs[run_id] = Run(
            row["setting_id"],
            setting,
            row["seed"],
            bool(row["diverged_any"]),
            row["seconds_sum"],
        )
    return Held(name, runs, tuple(faults))


def _tasks(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["task_count_distinct"], row["task_min"], row["task_max"]


def against_each_other(files: Iterable[Held]) -> list[Held]:
    """Return the files, where a file with another's run has that as a fault too.

    The file with the most runs is taken to be the right one.
    """
    owners: dict[str, str] = {}
    judged: dict[str, Held] = {}
    by_size = sorted(files, key=lambda held: (-len(held.runs), held.name))
    for held in by_size:
        twice = [run_id for run_id in held.runs if run_id in owners]
        if twice and not held.faults:
            fault = f"run {twice[0]} is in {owners[twice[0]]} too"
            held = Held(held.name, held.runs, (fault,), held.newer)
        if not held.faults:
            owners |= dict.fromkeys(held.runs, held.name)
        judged[held.name] = held
    return [judged[name] for name in sorted(judged)]
