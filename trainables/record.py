"""The record: one row per (run, task), and the columns that everybody reads.

Column names are public: people write SQL and pandas against them. A column keeps its
name, type and meaning; new ones are nullable. Fractions lie in [0, 1], losses are in
nats, times in seconds. A measure is null where it was not made, and on every task from
the one in which the run diverged.

A file describes itself: each field's metadata give role, unit, meaning and source.
Importing this module does not import torch.
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
"""Changes when a column's meaning does; a new nullable column does not change it."""

IDENTITY_COLUMNS: dict[str, Column] = {
    "study": Column(TEXT, False, "identity", "", "the study's name"),
    "setting_id": Column(TEXT, False, "identity", "", "hash of the setting"),
    "run_id": Column(TEXT, False, "identity", "", "hash of setting and seed"),
    "trial_id": Column(TEXT, False, "identity", "", "Ray Tune trial that made the row"),
    "seed": Column(
        WHOLE, False, "identity", "", "fixes initial weights, tasks, example order"
    ),
}

POSITION_COLUMNS: dict[str, Column] = {
    "task": Column(WHOLE, False, "position", "", "position in the stream, from 0"),
    "task_label": Column(
        TEXT, False, "position", "", "the classes (3v7), or the permutation's CRC-32"
    ),
}

OUTCOME_COLUMNS: dict[str, Column] = {
    "diverged": Column(
        TRUTH, False, "outcome", "", "whether the loss or a weight is not finite"
    ),
    "steps": Column(WHOLE, False, "outcome", "updates", "updates made in this task"),
    "seconds": Column(
        REAL, False, "outcome", "s", "wall time of the task, divided among its stack"
    ),
    "device": Column(TEXT, False, "outcome", "", "cpu, or the GPU's name"),
    "engine": Column(
        TEXT, True, "outcome", "", "what made the steps: reference, torch or native"
    ),
}

KNOWN_MEASURES: dict[str, Column] = {
    name: Column(REALS if is_list else REAL, True, "measure", *texts)
    for name, (is_list, *texts) in json.loads(
        Path(__file__).with_name("known_measures.json").read_text()
    ).items()
}
"""Measures in files from before fields had metadata. New ones need not be added."""


def _in_order(measures: Mapping[str, Column]) -> dict[str, Column]:
    """Return all columns of a file with these measures."""
    setting = {**IDENTITY_COLUMNS, **SETTING_COLUMNS, **POSITION_COLUMNS}
    return {**setting, **measures, **OUTCOME_COLUMNS}


KNOWN_COLUMNS: dict[str, Column] = _in_order(KNOWN_MEASURES)
"""The columns of files from before fields had metadata."""


def measure_columns() -> dict[str, Column]:
    """Return the measures that this program makes, as the probes declare them.

    This imports torch.
    """
    from trainables.probes import MEASURES

    return {n: MEASURES[n] for n in KNOWN_MEASURES if n in MEASURES} | MEASURES


def all_columns() -> dict[str, Column]:
    """Return all columns that this program writes, in the order of a file.

    This imports torch.
    """
    return _in_order(measure_columns())


def schema(metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Arrow schema of a file of records.

    `metadata` say what made the file: commit, versions, hardware.
    """
    fields = [column.to_field(name) for name, column in all_columns().items()]
    written = {
        "schema_version": str(SCHEMA_VERSION),
        "column_names_crc": _names_checksum(field.name for field in fields),
    }
    return pa.schema(fields, metadata=written | dict(metadata or {}))


def names_are_intact(file_schema: pa.Schema) -> bool:
    """Whether a file's columns have the names that were written.

    A damaged name would otherwise pass for one missing and one unknown column.
    """
    checksum = _metadata_text(file_schema, b"column_names_crc")
    return checksum in (None, _names_checksum(file_schema.names))


def _names_checksum(names: Iterable[str]) -> str:
    return f"{zlib.crc32(','.join(names).encode(errors='replace')):08x}"


def _metadata_text(file_schema: pa.Schema, key: bytes) -> str | None:
    value = (file_schema.metadata or {}).get(key)
    return None if value is None else value.decode(errors="replace")


def check_records(records: Iterable[Record]) -> None:
    """Check that records have all columns that may not be null, and no unknown one.

    Raises:
        ValueError: A column is unknown or missing.
    """
    columns = all_columns()
    required = {name for name, column in columns.items() if not column.nullable}
    for record in records:
        if unknown := sorted(record.keys() - columns.keys()):
            raise ValueError(f"record with unknown columns {unknown}")
        if missing := sorted(n for n in required if record.get(n) is None):
            raise ValueError(f"record without a value in {missing}")


def to_table(
    records: Iterable[Record], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Return records, as `ContinualRun.next_task` returns them, as a table.

    A nullable column that a record lacks becomes null; study and trial_id become empty.
    For the metadata see `schema`.

    Raises:
        ValueError: A record has an unknown column, or lacks one that may not be null.
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: A value has the wrong type.
    """
    rows = [{"study": "", "trial_id": ""} | record for record in records]
    check_records(rows)
    return pa.Table.from_pylist(rows, schema=schema(metadata))


def file_columns(file_schema: pa.Schema) -> dict[str, Column]:
    """Return the columns that a file describes.

    Columns without metadata, from before files had them, are as in `KNOWN_COLUMNS`;
    those that are unknown there too are left out.
    """
    return {
        field.name: column
        for field in file_schema
        if (column := Column.from_field(field) or KNOWN_COLUMNS.get(field.name))
    }


def schema_version(file_schema: pa.Schema) -> int:
    """Return the version of a file's schema; 0: it is not a file of records."""
    text = _metadata_text(file_schema, b"schema_version") or ""
    return int(text) if text.isdecimal() and text.isascii() else 0


def schema_error(file_schema: pa.Schema) -> str | None:
    """Return why a file with this schema cannot be read; None: it can.

    A file may lack any nullable column, and a file of an earlier version any column.
    """
    version = schema_version(file_schema)
    if not version:
        return "is not a file of records: its metadata have no schema_version"
    if version > SCHEMA_VERSION:
        return (
            f"has records of version {version}, this program reads up to "
            f"{SCHEMA_VERSION}: upgrade it"
        )
    for name, column in KNOWN_COLUMNS.items():
        index = file_schema.get_field_index(name)
        if index < 0:
            if version == SCHEMA_VERSION and not column.nullable:
                return f"is not a file of records: it has no column {name}"
        elif (type_ := value_type(file_schema.field(index))) != column.type:
            return (
                f"is not a file of records: column {name} is {type_}, not {column.type}"
            )
    return None
