"""Loading: the records of one or more studies as one data frame.

Records lie in RESULTS/<study>/records/*.parquet, on a disk or in a bucket, and RESULTS
may name any of these levels. Nothing else that lies there is opened. Files are read
one by one rather than as one Arrow dataset, which is no faster: every file is then
checked against the schema, and a mistake names the file it is in.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from analysis.records.where import Where, parse
from trainables.record import COLUMNS, MEASURED, misfit
from trainables.usage import UsageError, choose

KEY = ["study", "run_id", "task"]
"""What a row is one of, within a study."""

WORDS = [name for name, column in COLUMNS.items() if pa.types.is_string(column.type)]
"""The columns that mostly say the same in a whole file: read as dictionaries."""

SOME = 8
"""How many of a column's values a mistake names."""


@dataclass(frozen=True)
class Held:
    """A file of records: where it lies, and what made it."""

    path: str
    studies: tuple[str, ...]
    metadata: dict[str, str]
    """As the file has it: commit, versions, hardware; and schema_version."""


def load(
    results: str, columns: Sequence[str] | None = None, where: str | None = None
) -> pd.DataFrame:
    """Return the records under `results`, one row per (study, run, task).

    Rows that are there twice with the same measurements are kept once, and a line on
    standard error says so.

    Args:
        results: A folder of studies, one study's folder, a folder named records, or one
            .parquet file; a path or a URI (s3://bucket/results).
        columns: The columns to read, all if None; `KEY` always comes with them, and
            all come in the order of the schema.
        where: Which rows, in the language of `analysis.records.where`; all if None.

    Raises:
        UsageError: There are no records, a file is damaged, newer than this program
            or not of records, or two rows of one run and task contradict each other;
            or the filter cannot be read, or keeps nothing.
    """
    return load_held(results, columns, where)[0]


def load_held(
    results: str, columns: Sequence[str] | None = None, where: str | None = None
) -> tuple[pd.DataFrame, list[Held]]:
    """Return what `load` does, and the files that it came from."""
    kept = None if where is None else parse(where)
    wanted = COLUMNS if columns is None else columns
    asked = {*KEY, *(choose("column", name, COLUMNS) for name in wanted)}
    names = tuple(name for name in COLUMNS if name in asked)
    filesystem, files = _find(results)
    read = functools.partial(_read, filesystem, names, kept)
    # Of a disk, more than two would only wait for each other at Python's lock.
    with ThreadPoolExecutor(2 if _near(filesystem) else None) as pool:
        parts, held = zip(*pool.map(read, files), strict=True)
    table = pa.concat_tables(parts).cast(_kinds(names))
    if not table.num_rows:
        raise _no_records(results) if kept is None else _none_kept(results, kept)
    rows = [part.num_rows for part in parts]
    origin = np.repeat(np.array(files, dtype=object), rows)
    return _once(table.to_pandas(), origin), list(held)


def _find(results: str) -> tuple[fs.FileSystem, list[str]]:
    """Return the file system and the sorted paths of the files of records.

    Raises:
        UsageError: The path does not exist, or holds no records.
    """
    try:
        if "://" in results:
            filesystem, root = fs.FileSystem.from_uri(results)
        else:
            local = os.path.abspath(os.path.expanduser(results))
            filesystem, root = fs.LocalFileSystem(), local
        info = filesystem.get_file_info(root)
        if info.type == fs.FileType.NotFound:
            raise UsageError(f"{results} does not exist: give the folder of results")
        files = _files(filesystem, info)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {results}: {_line(error)}") from None
    if not files:
        raise _no_records(results)
    return filesystem, sorted(files)


def _files(filesystem: fs.FileSystem, root: fs.FileInfo) -> list[str]:
    """Return the paths of the files of records in or at `root`."""

    def inside(folder: str) -> list[fs.FileInfo]:
        found = filesystem.get_file_info(fs.FileSelector(folder))
        return [info for info in found if not info.base_name.startswith((".", "_"))]

    def folders(infos: Iterable[fs.FileInfo]) -> list[fs.FileInfo]:
        return [info for info in infos if info.type == fs.FileType.Directory]

    if root.type == fs.FileType.File:
        return [root.path] if root.extension == "parquet" else []
    if root.base_name == "records":
        held = [root]
    else:
        held = folders(inside(root.path))
        if all(info.base_name != "records" for info in held):
            held = [inner for info in held for inner in folders(inside(info.path))]
        held = [info for info in held if info.base_name == "records"]
    return [
        info.path
        for records in held
        for info in inside(records.path)
        if info.type == fs.FileType.File and info.extension == "parquet"
    ]


def _near(filesystem: fs.FileSystem) -> bool:
    """Tell whether a file system answers at once."""
    return isinstance(filesystem, fs.LocalFileSystem)


def _read(
    filesystem: fs.FileSystem, names: tuple[str, ...], where: Where | None, file: str
) -> tuple[pa.Table, Held]:
    """Return the named columns of one file, the rows that are kept, and its making.

    Raises:
        UsageError: It is not a readable file of records.
    """
    read = {*names, *(where.columns if where else ())}
    needed = tuple(name for name in COLUMNS if name in read)
    try:
        with (
            filesystem.open_input_file(file) as source,
            _open(source, far=not _near(filesystem)) as parquet,
        ):
            held = parquet.schema_arrow
            if fault := misfit(held, needed):
                raise UsageError(f"{file} {fault}")
            there = set(held.names)
            present = [name for name in needed if name in there]
            # The files are what is read side by side, not the columns of each.
            table = parquet.read(present, use_threads=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} is damaged or not a Parquet file ({_line(error)}): "
            "move it away, and run the study again to make its records anew"
        ) from None
    table = _complete(table, needed, file)
    if where:
        table = table.filter(where.keeps)
    marks = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (held.metadata or {}).items()
        if not key.startswith((b"ARROW:", b"pandas"))
    }
    studies = tuple(sorted(table["study"].unique().to_pylist()))
    return table.select(names), Held(file, studies, marks)


def _open(source: pa.NativeFile, far: bool) -> pq.ParquetFile:
    """Open a file: what is far in one request for all columns."""
    try:
        return pq.ParquetFile(source, read_dictionary=WORDS, pre_buffer=far)
    except KeyError:  # it lacks some of them, as an older file does
        return pq.ParquetFile(source, pre_buffer=far)


def _complete(table: pa.Table, names: tuple[str, ...], file: str) -> pa.Table:
    """Return a file's columns in this order, with nulls for those that it lacks.

    Without its metadata: files differ in which commit and which machine, rows do not.

    Raises:
        UsageError: There is a null where there may be none.
    """
    kinds = _kinds(names, in_file=True)
    table = table.replace_schema_metadata()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not COLUMNS[name].null and column.null_count:
            raise UsageError(f"{file} is no file of records: column {name} has a null")
    if table.schema.equals(kinds):
        return table
    there = set(table.column_names)
    for name in names:
        if name not in there:
            empty = pa.nulls(table.num_rows, COLUMNS[name].type)
            table = table.append_column(name, empty)
    return table.select(names).cast(kinds)


@functools.cache
def _kinds(names: tuple[str, ...], in_file: bool = False) -> pa.Schema:
    """Return the schema of some columns: as plain rows, or as they are read."""

    def kind(name: str) -> pa.DataType:
        plain = COLUMNS[name].type
        if in_file and name in WORDS:
            return pa.dictionary(pa.int32(), plain)
        return plain

    return pa.schema([pa.field(n, kind(n), nullable=COLUMNS[n].null) for n in names])


def _once(frame: pd.DataFrame, origin: npt.NDArray[Any]) -> pd.DataFrame:
    """Return each row once.

    Args:
        frame: The rows of all files.
        origin: The file of each row.

    Raises:
        UsageError: Two rows of one run and task differ in what was measured.
    """
    again = frame.duplicated(KEY)
    if not again.any():
        return frame
    result = [name for name in frame if name in MEASURED or name == "diverged"]
    twice = frame[frame.duplicated(KEY, keep=False)].copy()
    for name in result:
        if pa.types.is_list(COLUMNS[name].type):  # arrays cannot be compared as wholes
            twice[name] = twice[name].map(_as_tuple)
    distinct = twice[KEY + result].drop_duplicates()
    against = distinct[distinct.duplicated(KEY)]
    if len(against):
        row = against.iloc[0]
        same = (distinct[KEY] == row[KEY]).all(axis=1)
        one, other = origin[distinct.index[same][:2]]
        raise UsageError(
            f"task {row['task']} of run {row['run_id']} (study {row['study']}) has two "
            f"different results, in {one} and {other}: move the wrong file away"
        )
    where = origin[np.flatnonzero(again)[0]]
    print(
        f"note: {again.sum()} rows are there more than once (as in {where}), with "
        "the same results; each is counted once",
        file=sys.stderr,
    )
    return frame[~again].reset_index(drop=True)


def _as_tuple(value: npt.NDArray[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def _no_records(results: str) -> UsageError:
    """Return the mistake of looking where there are none."""
    return UsageError(
        f"no records in {results} (looked for STUDY/records/*.parquet): "
        "make some with python -m study.sweep"
    )


def _none_kept(results: str, where: Where) -> UsageError:
    """Return the mistake of a filter that keeps nothing, with what it could keep."""
    frame = load(results, where.columns)
    said = []
    for name in where.columns:
        held = sorted(frame[name].dropna().unique().tolist())
        some = ", ".join(map(str, held[:SOME])) or "null everywhere"
        said.append(f"{name} is {some}{', ...' if len(held) > SOME else ''}")
    return UsageError(
        f'--where "{where.text}" keeps none of the records in {results}: '
        f"there {'; '.join(said)}"
    )


def _line(error: Exception) -> str:
    """Return an error's text as one line without a full stop."""
    return " ".join(str(error).split()).rstrip(".")
