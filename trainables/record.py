"""Records: one row per run and task. This module defines the columns of the records.

Users write SQL and pandas code with the names of the columns. A column must therefore
keep its name, type and meaning. A new column must be nullable (null is allowed).

Fractions are in [0, 1], losses are in nats and times are in seconds. If a measure was
not made on a task, its value is null. If a run diverged on a task, all its measures are
null from that task on.

A file of records describes itself: the metadata of each field contain its role, unit,
meaning and source. Importing this module does not import torch.
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
from trainables.usage import printable

__all__ = ["REAL", "SETTING_COLUMNS", "Column", "Role"]

Record = dict[str, Any]

SCHEMA_VERSION = 3
"""The version of the columns. Increase it when the meaning of a column changes.

A new nullable column does not need a new version.
"""

IDENTITY_COLUMNS: dict[str, Column] = {
    "study": Column(TEXT, False, "identity", "", "the study's name"),
    "setting_id": Column(TEXT, False, "identity", "", "hash of the setting"),
    "run_id": Column(TEXT, False, "identity", "", "hash of setting and seed"),
    "trial_id": Column(TEXT, False, "identity", "", "Ray Tune trial that made the row"),
    "seed": Column(
        WHOLE, False, "identity", "", "determines initial weights, tasks, example order"
    ),
}

POSITION_COLUMNS: dict[str, Column] = {
    "task": Column(WHOLE, False, "position", "", "position in the stream, from 0"),
    "task_label": Column(
        TEXT,
        False,
        "position",
        "",
        "name of the task, e.g. its classes (3v7) or the CRC-32 of its order of pixels",
    ),
}

OUTCOME_COLUMNS: dict[str, Column] = {
    "diverged": Column(
        TRUTH, False, "outcome", "", "true if the loss or a weight is not finite"
    ),
    "steps": Column(WHOLE, False, "outcome", "updates", "updates made in this task"),
    "seconds": Column(
        REAL,
        False,
        "outcome",
        "s",
        "wall time of the task, divided by the number of seeds trained together",
    ),
    "device": Column(TEXT, False, "outcome", "", "cpu, or the GPU's name"),
    "engine": Column(
        TEXT, True, "outcome", "", "code that trained the run: reference, torch, native"
    ),
}

KNOWN_MEASURES: dict[str, Column] = {
    name: Column(REALS if is_list else REAL, True, "measure", *texts)
    for name, (is_list, *texts) in json.loads(
        Path(__file__).with_name("known_measures.json").read_text()
    ).items()
}
"""The measures in old files, whose fields have no metadata.

Do not add new measures here: new files describe their measures themselves.
"""


def _in_order(measures: Mapping[str, Column]) -> dict[str, Column]:
    """Return the columns of a file that has these measures, in the file's order."""
    setting = {**IDENTITY_COLUMNS, **SETTING_COLUMNS, **POSITION_COLUMNS}
    return {**setting, **measures, **OUTCOME_COLUMNS}


KNOWN_COLUMNS: dict[str, Column] = _in_order(KNOWN_MEASURES)
"""The columns of old files, whose fields have no metadata."""


def measure_columns() -> dict[str, Column]:
    """Return the columns of all measures that this program makes."""
    # imported late, because the probes import torch
    from trainables.probes import MEASURES

    return {n: MEASURES[n] for n in KNOWN_MEASURES if n in MEASURES} | MEASURES


def all_columns() -> dict[str, Column]:
    """Return all columns that this program writes to a file, in the file's order."""
    return _in_order(measure_columns())


def schema(metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Arrow schema of a file of records.

    `metadata` describes the study (its commit, versions and hardware). It becomes part
    of the schema's metadata.
    """
    fields = [column.to_field(name) for name, column in all_columns().items()]
    written = {
        "schema_version": str(SCHEMA_VERSION),
        "column_names_crc": _names_checksum(field.name for field in fields),
    }
    return pa.schema(fields, metadata=written | dict(metadata or {}))


def names_are_intact(file_schema: pa.Schema) -> bool:
    """Return whether the column names in a file match the checksum in its metadata.

    If the file has no checksum, return True. Without the checksum, a damaged name would
    look like a missing column and an unknown column.
    """
    checksum = _metadata_text(file_schema, b"column_names_crc")
    return checksum in (None, _names_checksum(file_schema.names))


def _names_checksum(names: Iterable[str]) -> str:
    """Return the CRC-32 of the names in their order, as 8 hexadecimal digits."""
    return f"{zlib.crc32(','.join(names).encode(errors='replace')):08x}"


def _metadata_text(file_schema: pa.Schema, key: bytes) -> str | None:
    value = (file_schema.metadata or {}).get(key)
    return None if value is None else value.decode(errors="replace")


def check_records(records: Iterable[Record]) -> None:
    """Check that each record has all required columns and no unknown column.

    Raises:
        ValueError: A column is unknown, or a required column is missing or null.
    """
    columns = all_columns()
    required = {name for name, column in columns.items() if not column.nullable}
    for record in records:
        if unknown := sorted(record.keys() - columns.keys()):
            raise ValueError(f"a record has unknown columns {unknown}")
        if missing := sorted(n for n in required if record.get(n) is None):
            raise ValueError(f"a record has no value in required columns {missing}")


def to_table(
    records: Iterable[Record], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Return an Arrow table of the records that `ContinualRun.next_task` returned.

    If a record lacks a nullable column, its value is null. If a record lacks study or
    trial_id, the value is "". `schema` explains `metadata`.

    Raises:
        ValueError: A record has an unknown column or lacks a required column.
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError: A value has the wrong type.
    """
    rows = [{"study": "", "trial_id": ""} | record for record in records]
    check_records(rows)
    return pa.Table.from_pylist(rows, schema=schema(metadata))


def file_columns(file_schema: pa.Schema) -> dict[str, Column]:
    """Return the descriptions of a file's columns, by name.

    A description comes from the metadata of the field or, in old files without such
    metadata, from `KNOWN_COLUMNS`. A column without a description, or with control
    characters in its name, is left out.
    """
    return {
        field.name: column
        for field in file_schema
        if field.name == printable(field.name)
        and (column := Column.from_field(field) or KNOWN_COLUMNS.get(field.name))
    }


def schema_version(file_schema: pa.Schema) -> int:
    """Return the schema version of a file of records, or 0 for any other file."""
    text = _metadata_text(file_schema, b"schema_version") or ""
    return int(text) if text.isdecimal() and text.isascii() else 0


def schema_error(file_schema: pa.Schema) -> str | None:
    """Return why a file with this schema cannot be read, or None if it can be read.

    A file can be read without nullable columns. With an earlier schema version, it can
    be read without any of the columns.
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
