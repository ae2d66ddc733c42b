"""Check the files of a study, because any file can be damaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.patience import first_line
from trainables.record import (
    SCHEMA_VERSION,
    SETTING_COLUMNS,
    names_are_intact,
    schema_error,
    schema_version,
)
from trainables.record_files import replaced_names
from trainables.request import joint_id, parse_stack_name
from trainables.setting import Row, digest


@attrs.frozen
class StoredRun:
    """One run in a records file."""

    setting_id: str
    setting: Row  # the columns of the setting that have a value
    seed: int
    diverged: bool
    seconds: float  # wall time of all tasks of the run


@attrs.frozen
class FileCheck:
    """The result of checking one file of a study."""

    path: str  # in the study's folder
    faults: tuple[str, ...] = ()  # why the file cannot be used; () if the file is good
    runs: Mapping[str, StoredRun] = attrs.field(factory=dict)  # by run_id
    newer: bool = False  # a newer program wrote the file, so it is not damaged
    rows: int = 0
    replaces: frozenset[str] = frozenset()  # names of the files that this one replaces


def check_records_file(path: str, content: bytes) -> FileCheck:
    """Check one records file; do not compare it with other files."""
    try:
        source = pa.BufferReader(content)
        with pq.ParquetFile(source, page_checksum_verification=True) as parquet:
            schema = parquet.schema_arrow
            if fault := schema_error(schema):
                newer = schema_version(schema) > SCHEMA_VERSION
                return FileCheck(path, (fault,), newer=newer)
            if not names_are_intact(schema):
                return FileCheck(path, ("has a damaged column name",))
            replaces = replaced_names(path, parquet.metadata.metadata)
            table = parquet.read(use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        fault = f"cannot be read as Parquet: {first_line(error).rstrip('.')}"
        return FileCheck(path, (fault,))
    if not table.num_rows:
        return FileCheck(path, ("has no rows",))
    # grouping by few columns is faster, so leave out the columns with only one value
    names = [name for name in schema.names if name in SETTING_COLUMNS]
    values = {name: table[name].unique() for name in names}
    shared = {name: v[0].as_py() for name, v in values.items() if len(v) == 1}
    columns = [name for name in names if name not in shared]
    task_counts = [("task", k) for k in ("count", "count_distinct", "min", "max")]
    groups = table.group_by(
        ["run_id", "setting_id", "seed", *columns], use_threads=False
    ).aggregate([*task_counts, ("diverged", "any"), ("seconds", "sum")])
    runs: dict[str, StoredRun] = {}
    faults: list[str] = []
    for row in groups.to_pylist():
        setting = shared | {name: row[name] for name in columns}
        setting = {name: value for name, value in setting.items() if value is not None}
        if fault := _run_fault(row, setting):
            faults.append(f"run {row['run_id']} (seed {row['seed']}): {fault}")
        runs[row["run_id"]] = StoredRun(
            setting_id=row["setting_id"],
            setting=setting,
            seed=row["seed"],
            diverged=bool(row["diverged_any"]),
            seconds=row["seconds_sum"],
        )
    rows = table.num_rows
    return FileCheck(path, tuple(faults), runs, rows=rows, replaces=replaces)


def _run_fault(row: dict[str, Any], setting: Row) -> str | None:
    """Return the first fault in the rows of one run, or None if the rows are good.

    `row` has the columns of the run and the counts of its tasks.
    """
    if digest(setting | {"seed": row["seed"]}) != row["run_id"]:
        return "run_id does not match the columns of the setting and the seed"
    if digest(setting) != row["setting_id"]:
        return "setting_id does not match the columns of the setting"
    if row["task_count"] > row["task_count_distinct"]:
        return "duplicate task"
    tasks = (row["task_count_distinct"], row["task_min"], row["task_max"])
    length = setting.get("tasks", 0)
    if tasks != (length, 0, length - 1):
        return f"has {tasks[0]} of its {length} tasks"
    return None


def check_checkpoint(path: str, content: bytes) -> FileCheck:
    """Check a trial's checkpoint file, whose name has the setting and the seeds."""
    from trainables.checkpoint import read

    try:
        state = read(content)
        setting_id, seeds = parse_stack_name(PurePath(path).stem)
        states = [state["run"], *state.get("others", [])]
        setting_ids = {digest(own["setting"]) for own in states}
        if (
            joint_id(setting_ids) != setting_id
            or any(sorted(own["seeds"]) != list(seeds) for own in states)
            or any(row["setting_id"] not in setting_ids for row in state["records"])
        ):
            return FileCheck(path, ("setting or seeds differ from the file name",))
    except Exception as error:  # corrupt input can raise anything
        fault = f"cannot be read as a checkpoint: {first_line(error)}"
        return FileCheck(path, (fault,))
    return FileCheck(path)


def reject_duplicates(checks: Iterable[FileCheck]) -> list[FileCheck]:
    """Return the checks sorted by path, with a fault for each file with duplicate runs.

    If a run is in two good files, the file with fewer runs gets the fault.
    """
    owners: dict[str, str] = {}
    result: list[FileCheck] = []
    for check in sorted(checks, key=lambda c: (-len(c.runs), c.path)):
        if not check.faults:
            if duplicates := [run_id for run_id in check.runs if run_id in owners]:
                fault = f"run {duplicates[0]} is also in {owners[duplicates[0]]}"
                check = attrs.evolve(check, faults=(fault,))
            else:
                owners |= dict.fromkeys(check.runs, check.path)
        result.append(check)
    return sorted(result, key=lambda check: check.path)
