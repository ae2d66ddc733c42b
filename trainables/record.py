"""The record: one row per (run, task), and its columns.

Column names are public: people write SQL and pandas code against them. A column keeps
its name, type and meaning. A new column is nullable. Fractions lie in [0, 1], losses
are in nats, times are in seconds. A measure is null on a task where it was not made.
In a run that diverged, it is null on the task of the divergence and on all later tasks.

A file describes itself: the metadata of each field give its role, unit, meaning and
source. Importing this module does not import torch.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from trainables.hyperparameter import (
    REAL,
    REALS,
    TEXT,
    TRUTH,
    WHOLE,
    Column,
    Role,
    value_type,
)
from trainables.setting import SETTING_COLUMNS

__all__ = ["REAL", "SETTING_COLUMNS", "Column", "Role"]

Record = dict[str, Any]

SCHEMA_VERSION = 3
"""Increased when the meaning of a column changes, but not for a new nullable column."""

IDENTITY_COLUMNS: dict[str, Column] = {
    "study": Column(TEXT, False, "identity", "", "the study's name"),
    "setting_id": Column(TEXT, False, "identity", "", "hash of the setting"),
    "run_id": Column(TEXT, False, "identity", "", "hash of setting and seed"),
    "trial_id": Column(TEXT, False, "identity", "", "Ray Tune trial that made the row"),
    "seed": Column(
        WHOLE, False, "identity", "", "fixes initial weights, tasks and example order"
    ),
}

POSITION_COLUMNS: dict[str, Column] = {
    "task": Column(WHOLE, False, "position", "", "position in the stream, from 0"),
    "task_label": Column(
        TEXT, False, "position", "", "the classes (as 3v7) or the permutation's CRC-32"
    ),
}

OUTCOME_COLUMNS: dict[str, Column] = {
    "diverged": Column(
        TRUTH, False, "outcome", "", "whether the loss or a weight is not finite"
    ),
    "steps": Column(WHOLE, False, "outcome", "updates", "updates made in this task"),
    "seconds": Column(
        REAL, False, "outcome", "s", "wall time of the stack's task, per trained seed"
    ),
    "device": Column(TEXT, False, "outcome", "", "cpu, or the GPU's name"),
    "engine": Column(
        TEXT, True, "outcome", "", "what trained the run: reference, torch or native"
    ),
}

KNOWN_MEASURES: dict[str, Column] = {
    name: Column(REALS if is_list else REAL, True, "measure", *texts)
    for name, (is_list, *texts) in json.loads(
        Path(__file__).with_name("known_measures.json").read_text()
    ).items()
}
"""Measures in files whose fields have no metadata yet. Do not add new measures here."""


def _in_order(measures: Mapping[str, Column]) -> dict[str, Column]:
    """Return all columns of a file with these measures, in the order of the file."""
    setting = {**IDENTITY_COLUMNS, **SETTING_COLUMNS, **POSITION_COLUMNS}
    return {**setting, **measures, **OUTCOME_COLUMNS}


KNOWN_COLUMNS: dict[str, Column] = _in_order(KNOWN_MEASURES)
"""The columns of files whose fields have no metadata yet."""


def measure_columns() -> dict[str, Column]:
    """Return the columns of the measures that this program makes.

    The probes declare these columns, so that this function imports torch.
    """
    from trainables.probes import MEASURES

    return {n: MEASURES[n] for n in KNOWN_MEASURES if n in MEASURES} | MEASURES


def all_columns() -> dict[str, Column]:
    """Return all columns that this program writes, in the order of a file.

    This function imports torch.
    """
    return _in_order(measure_columns())


def schema(metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Arrow schema of a file of records.

    `metadata` is added to the schema's: commit, versions and hardware of the study.
    """
    fields = [column.to_field(name) for name, column in all_columns().items()]
    written = {
        "schema_version": str(SCHEMA_VERSION),
        "column_names_crc": _names_checksum(field.name for field in fields),
    }
    return pa.schema(fields, metadata=written | dict(metadata or {}))


def names_are_intact(file_schema: pa.Schema) -> bool:
    """Return whether a file's columns still have the names that were written.

    Without this check, a damaged name would look like a missing column and an unknown
    column.
    """
    checksum = _metadata_text(file_schema, b"column_names_crc")
    return checksum in (None, _names_checksum(file_schema.names))


def _names_checksum(names: Iterable[str]) -> str:
    return f"{zlib.crc32(','.join(names).encode(errors='replace')):08x}"


def _metadata_text(file_schema: pa.Schema, key: bytes) -> str | None:
    value = (file_schema.metadata or {}).get(key)
    return None if value is None else value.decode(errors="replace")


def check_records(records: Iterable[Record]) -> None:
    """Check that records have all required columns and no unknown column.

    Raises:
        ValueError: A column is unknown, or a required column is missing or null.
    """
    columns = all_columns()
    required = {name for name, column in columns.items() if not column.nullable}
    for record in records:
        if unknown := sorted(record.keys() - columns.keys()):
            raise ValueError(f"a record has unknown columns {unknown}")
        if missing := sorted(n for n in required if record.get(n) is None):
            raise ValueError(f"a record has no value in columns {missing}")


def to_table(
    records: Iterable[Record], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Return a table of records, which are those that `ContinualRun.next_task` returns.

    A missing nullable column is filled with null; a missing study or trial_id is
    filled with "". `schema` explains `metadata`.

    Raises:
        ValueError: A record has an unknown column or lacks a required one.
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: A value has the wrong type.
    """
    rows = [{"study": "", "trial_id": ""} | record for record in records]
    check_records(rows)
    return pa.Table.from_pylist(rows, schema=schema(metadata))


def file_columns(file_schema: pa.Schema) -> dict[str, Column]:
    """Return the columns that a file describes.

    Old files have no metadata: their columns are looked up in `KNOWN_COLUMNS`. Columns
    that are not described in either place are left out.
    """
    return {
        field.name: column
        for field in file_schema
        if (column := Column.from_field(field) or KNOWN_COLUMNS.get(field.name))
    }


def schema_version(file_schema: pa.Schema) -> int:
    """Return the version of a file's schema, or 0 if it is not a file of records."""
    text = _metadata_text(file_schema, b"schema_version") or ""
    return int(text) if text.isdecimal() and text.isascii() else 0


def schema_error(file_schema: pa.Schema) -> str | None:
    """Return why a file with this schema cannot be read, or None if it can.

    A file may lack nullable columns. A file of an earlier version may lack any column.
    """
    version = schema_version(file_schema)
    if not version:
        return "is not a file of records: its metadata have no schema_version"
    if version > SCHEMA_VERSION:
        return (
            f"has records of version {version}, but this program reads only versions "
            f"up to {SCHEMA_VERSION}: upgrade the program"
        )
    for name, column in KNOWN_COLUMNS.items():
        index = file_schema.get_field_index(name)
        if index < 0:
            if version == SCHEMA_VERSION and not column.nullable:
                return f"is not a file of records: it has no column {name}"
        elif (type_ := value_type(file_schema.field(index))) != column.type:
            return (
                f"is not a file of records: column {name} has type {type_}, "
                f"not {column.type}"
            )
    return None
