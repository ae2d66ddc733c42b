"""Load the records of one or more studies.

Records lie in RESULTS/<study>/records/*.parquet, on a disk or in a bucket, and RESULTS
may name any of these levels. No other file is opened. The columns are those that the
files describe, so a new hyperparameter or probe needs no change here.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from analysis.records.query import matching_rows
from analysis.records.runs import NEEDED
from trainables.record import (
    KNOWN_COLUMNS,
    REAL,
    Column,
    Role,
    file_columns,
    schema_error,
)
from trainables.usage import UsageError, choose

KEY = ["study", "run_id", "task"]
"""The columns that identify a row."""

ROLES: tuple[Role, ...] = ("identity", "setting", "position", "measure", "outcome")
"""The order of columns."""

MAX_VALUES = 8
"""The most values of a column that an error lists."""


@attrs.frozen
class RecordsFile:
    """A file of records, without the rows."""

    path: str
    studies: tuple[str, ...]
    metadata: dict[str, str]  # what made it (commit, versions, hardware)
    columns: dict[str, Column]  # those that it describes


@attrs.frozen
class Records:
    """Records, one row per (study, run, task)."""

    table: pa.Table
    files: list[RecordsFile]
    columns: dict[str, Column]  # those of all files, and those of earlier versions

    @property
    def number_columns(self) -> list[str]:
        """The measurements with one number per row."""
        return [
            name
            for name, column in self.columns.items()
            if column.role == "measure" and column.type == REAL
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a frame, which notes the columns of the setting."""
        frame: pd.DataFrame = self.table.to_pandas()
        settings = tuple(n for n, c in self.columns.items() if c.role == "setting")
        frame.attrs["setting_columns"] = settings
        return frame


def load(
    results: str, columns: Iterable[str] | None = None, where: str | None = None
) -> pd.DataFrame:
    """Return records as a frame; see `load_records`."""
    return load_records(results, columns, where).to_frame()


def load_records(
    results: str, columns: Iterable[str] | None = None, where: str | None = None
) -> Records:
    """Return the records under `results`.

    Equal rows count once, with a note on standard error.

    Args:
        results: A folder of studies, the folder of a study, a folder named records, or
            one .parquet file; a path or a URI (s3://bucket/results).
        columns: The columns to read beside those that identify a row or belong to its
            setting; None: all.
        where: A filter of the rows: an expression of DuckDB's SQL; None: all rows.

    Raises:
        UsageError: There are no records; a file is damaged, is not of records or was
            written by a newer version; two rows contradict each other; a column is
            unknown; or the filter is wrong or matches no row.
    """
    filesystem, paths = _find_files(results)
    words = re.findall(r"\w+", (where or "").lower())
    names = None if columns is None else {*NEEDED, *columns, *words}
    read = functools.partial(_read_file, filesystem, names)
    # Local reads are limited by Python's lock, remote ones by waiting.
    with ThreadPoolExecutor(2 if _is_local(filesystem) else None) as pool:
        tables, files = zip(*pool.map(read, paths), strict=True)
    known = _merge_columns(files)
    for name in columns or ():
        choose("column", name, known)
    table = _concatenate(tables, known, names)
    if not table.num_rows:
        raise _no_records(results)
    origin = np.repeat(np.arange(len(files)), [part.num_rows for part in tables])
    if where is not None:
        rows = matching_rows(table, where, known)
        if not len(rows):
            raise _no_match(results, table, where, [n for n in known if n in words])
        table, origin = table.take(rows), origin[rows]
        if columns is not None:
            table = table.select(_choose_columns(known, {*NEEDED, *columns}))
    table = _drop_duplicates(table, known, lambda row: files[origin[row]].path)
    return Records(table, list(files), known)


def _find_files(results: str) -> tuple[fs.FileSystem, list[str]]:
    """Return the file system and the sorted paths of the files of records."""
    try:
        filesystem, root = open_results(results)
        info = filesystem.get_file_info(root)
        if info.type == fs.FileType.NotFound:
            raise UsageError(f"{results} does not exist: give the folder of results")
        paths = _list_files(filesystem, info)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {results}: {one_line(error)}") from None
    if not paths:
        raise _no_records(results)
    return filesystem, sorted(paths)


def open_results(results: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or URI, and the path in it.

    Raises:
        OSError, pyarrow.ArrowException: There is no such file system.
    """
    if "://" in results:
        filesystem, root = fs.FileSystem.from_uri(results)
        return filesystem, root.rstrip("/")
    return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(results))


def _list_files(filesystem: fs.FileSystem, root: fs.FileInfo) -> list[str]:
    """Return the paths of the files of records in or at `root`."""

    def list_all(
        folders: Iterable[fs.FileInfo], kind: fs.FileType
    ) -> list[fs.FileInfo]:
        return [
            info
            for folder in folders
            for info in filesystem.get_file_info(fs.FileSelector(folder.path))
            if info.type == kind and not info.base_name.startswith((".", "_"))
        ]

    folders, files = [root], [root]
    if root.type == fs.FileType.Directory:
        if root.base_name != "records":
            folders = list_all(folders, fs.FileType.Directory)
            if all(info.base_name != "records" for info in folders):
                folders = list_all(folders, fs.FileType.Directory)
            folders = [info for info in folders if info.base_name == "records"]
        files = list_all(folders, fs.FileType.File)
    return [info.path for info in files if info.extension == "parquet"]


def _is_local(filesystem: fs.FileSystem) -> bool:
    return isinstance(filesystem, fs.LocalFileSystem)


def _choose_columns(
    columns: Mapping[str, Column], names: Collection[str] | None
) -> list[str]:
    """Return the named columns and those of the setting; None: all."""
    return [
        name
        for name, column in columns.items()
        if names is None or name in names or column.role == "setting"
    ]


def _read_file(
    filesystem: fs.FileSystem, names: set[str] | None, path: str
) -> tuple[pa.Table, RecordsFile]:
    """Return the named columns and those of the setting, as plain values."""
    try:
        with (
            filesystem.open_input_file(path) as source,
            pq.ParquetFile(source, pre_buffer=not _is_local(filesystem)) as parquet,
        ):
            schema = parquet.schema_arrow
            if error := schema_error(schema):
                raise UsageError(f"{path} {error}")
            columns = file_columns(schema)
            chosen = _choose_columns(columns, names)
            # Files are read side by side, so the columns of each need not be.
            table = parquet.read(chosen, use_threads=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is damaged or not a Parquet file ({one_line(error)}): "
            "move it away, and run the study again to make its records anew"
        ) from None
    for name in chosen:
        nullable = KNOWN_COLUMNS.get(name, columns[name]).nullable
        if table[name].null_count and not nullable:
            raise UsageError(f"{path} is not a file of records: {name} has a null")
    types = pa.schema([(name, columns[name].type) for name in chosen])
    table = table.select(chosen).cast(types)
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (schema.metadata or {}).items()
        if not key.startswith((b"ARROW:", b"pandas"))
    }
    studies = tuple(sorted(table["study"].unique().to_pylist()))
    return table, RecordsFile(path, studies, metadata, columns)


def _merge_columns(files: Sequence[RecordsFile]) -> dict[str, Column]:
    """Return the columns of all files, and those of earlier versions, in file order."""
    merged = dict(KNOWN_COLUMNS)
    for file in files:
        for name, column in file.columns.items():
            if name in KNOWN_COLUMNS and column.meaning:
                merged[name] = column
            elif merged.setdefault(name, column).type != column.type:
                raise UsageError(
                    f"{file.path}: column {name} is {column.type}, in another file it "
                    f"is {merged[name].type}: analyse the two apart"
                )
    order = sorted(merged, key=lambda name: ROLES.index(merged[name].role))
    return {name: merged[name] for name in order}


def _concatenate(
    tables: Iterable[pa.Table], known: dict[str, Column], names: set[str] | None
) -> pa.Table:
    """Return all rows, with nulls in the columns that a file lacks."""
    table = pa.concat_tables(tables, promote_options="default")
    chosen = _choose_columns(known, names)
    for name in chosen:
        if name not in table.column_names:
            nulls = pa.nulls(table.num_rows, known[name].type)
            table = table.append_column(name, nulls)
    return table.select(chosen)


def _drop_duplicates(
    table: pa.Table, known: dict[str, Column], path_of: Callable[[int], str]
) -> pa.Table:
    """Return each row once; `path_of` returns the file of a row.

    Raises:
        UsageError: Two rows of one run and task differ in a measurement.
    """
    keys = table.select(KEY).to_pandas()
    again = keys.duplicated().to_numpy()
    if not again.any():
        return table
    rows = np.flatnonzero(keys.duplicated(keep=False))
    measured = [
        name
        for name in table.column_names
        if known[name].role == "measure" or name == "diverged"
    ]
    repeated = table.take(rows).select([*KEY, *measured]).to_pandas()
    repeated.index = pd.Index(rows)
    for name in measured:
        if pa.types.is_list(known[name].type):  # pandas cannot compare arrays
            repeated[name] = repeated[name].map(tuple, na_action="ignore")
    distinct = repeated.drop_duplicates()
    contradictions = distinct[distinct.duplicated(KEY)]
    if len(contradictions):
        row = contradictions.iloc[0]
        first, second = distinct.index[(distinct[KEY] == row[KEY]).all(axis=1)][:2]
        raise UsageError(
            f"task {row['task']} of run {row['run_id']} (study {row['study']}) has two "
            f"different results, in {path_of(first)} and {path_of(second)}: move the "
            "wrong file away"
        )
    print(
        f"note: {again.sum()} rows occur more than once (for example in "
        f"{path_of(np.flatnonzero(again)[0])}), with equal results; each counts once",
        file=sys.stderr,
    )
    return table.filter(pa.array(~again))


def _no_records(results: str) -> UsageError:
    return UsageError(
        f"no records in {results} (looked for STUDY/records/*.parquet): "
        "make some with python -m study.sweep"
    )


def _no_match(
    results: str, table: pa.Table, where: str, names: Sequence[str]
) -> UsageError:
    """Return the error of a filter without a match, with the values there are."""
    texts = []
    for name in names:
        if pa.types.is_list(table[name].type):
            continue
        values = sorted(table[name].drop_null().unique().to_pylist())
        listed = ", ".join(map(str, values[:MAX_VALUES])) or "null everywhere"
        texts.append(f"{name} is {listed}{', ...' if len(values) > MAX_VALUES else ''}")
    hint = f": there {'; '.join(texts)}" if texts else ""
    return UsageError(f'--where "{where}" matches no record in {results}{hint}')


def one_line(error: Exception) -> str:
    """Return the text of an error as one line without a full stop."""
    return " ".join(str(error).split()).rstrip(".")
