"""Load the records of one or more studies.

Records are in RESULTS/STUDY/records/*.parquet, on a disk or in a bucket. The path to
load can be the folder RESULTS, STUDY or records, or one of the files. The files
describe their columns, so a new hyperparameter or probe needs no change here.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from analysis.records.measure import OWN_MEASURES
from analysis.records.query import matching_rows
from analysis.records.request import read_study_files
from analysis.records.runs import NEEDED
from analysis.records.source import one_line, open_results, translate_errors
from trainables.record import (
    KNOWN_COLUMNS,
    REAL,
    Column,
    Role,
    file_columns,
    schema_error,
)
from trainables.record_files import REPLACES, read_current, replaced_names
from trainables.request import STOPPED, Request
from trainables.usage import CONTROL, UsageError, choose, printable

KEY = ["study", "run_id", "task"]
"""The columns that together identify a row of the records."""

ROLES: tuple[Role, ...] = ("identity", "setting", "position", "measure", "outcome")
"""Columns are sorted by their role, in this order."""

REQUIRED = (
    *("study", "setting_id", "run_id", "trial_id", "seed", "problem", "dataset"),
    *("tasks", "optimizer", "task", "task_label", "diverged"),
)
"""The columns that must have a value in every row.

Other columns can have nulls if the file declares them as nullable. For example, results
of other programs (`analysis.records.csv_import`) can lack the learning rate.
"""

RE2_CONTROL = re.sub(r"\\x(..)", r"\\x{\1}", CONTROL)
"""`CONTROL` in the syntax of pyarrow's regular expressions."""

MAX_VALUES = 8
"""An error message lists at most this many values of a column."""


@attrs.frozen
class RecordsFile:
    """The description of one file of records, without its rows."""

    path: str
    studies: tuple[str, ...]
    metadata: dict[str, str]  # the commit, versions and hardware that made the file
    columns: dict[str, Column]  # the columns that the file describes
    replaces: frozenset[str] = frozenset()  # the names of the files that it replaces


def join_metadata(files: Sequence[RecordsFile], unknown: str) -> dict[str, str]:
    """Return the metadata of all files: the different values of each key, as text.

    `unknown` stands for the value of a file that lacks the key.
    """
    keys = dict.fromkeys(key for file in files for key in file.metadata)
    return {
        key: ", ".join(sorted({file.metadata.get(key, unknown) for file in files}))
        for key in keys
    }


class Selection(NamedTuple):
    """The records that a command uses; see `load_records`."""

    where: str | None = None  # an SQL filter, the option --where; None means all
    tasks: str | None = None  # START:STOP, the option --tasks; None means all


EVERYTHING = Selection()


@attrs.frozen
class Records:
    """Records, with one row per study, run and task."""

    table: pa.Table
    files: list[RecordsFile]
    columns: dict[str, Column]  # the columns of all files, and `KNOWN_COLUMNS`
    # study -> the seeds that were run only to confirm its best settings
    confirming: dict[str, frozenset[int]] = attrs.field(factory=dict)
    first_task: int = 0  # the number in the stream of the task that has number 0 here

    @property
    def number_columns(self) -> list[str]:
        """The names of the measurements that have one number per row."""
        return [
            name
            for name, column in self.columns.items()
            if column.role == "measure" and column.type == REAL
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a data frame.

        `frame.attrs` has `confirming`, `first_task` and "setting_columns", the names of
        the columns that describe the setting.
        """
        frame: pd.DataFrame = self.table.to_pandas()
        settings = (n for n, c in self.columns.items() if c.role == "setting")
        frame.attrs |= {
            "setting_columns": _Uncopied(settings),
            "confirming": self.confirming,
            "first_task": self.first_task,
        }
        return frame


class _Uncopied(tuple[str, ...]):
    """Names that pandas does not copy, although it copies `attrs` in each operation."""

    def __deepcopy__(self, memo: object) -> _Uncopied:
        return self


def load(
    results: str,
    columns: Iterable[str] | None = None,
    where: str | None = None,
    tasks: str | None = None,
    *,
    measure: str | None = None,
    with_stopped: bool = False,
) -> pd.DataFrame:
    """Load records as a data frame. `load_records` explains the arguments."""
    return load_records(
        results, columns, where, tasks, measure=measure, with_stopped=with_stopped
    ).to_frame()


def load_records(
    results: str,
    columns: Iterable[str] | None = None,
    where: str | None = None,
    tasks: str | None = None,
    *,
    measure: str | None = None,
    with_stopped: bool = False,
) -> Records:
    """Load the records in a folder, a file or a bucket.

    A row that occurs several times with equal results is loaded once. Settings that a
    race has stopped (`--refine`) are left out, because they have only some of the
    seeds. Notes on repeated rows, on stopped settings and on what the filter removed
    are printed to standard error.

    Args:
        results: A folder of studies, the folder of a study, a folder named records, or
            one .parquet file; a path or a URI (s3://bucket/results).
        columns: The columns to read; None reads all. The columns that identify a row
            or describe its setting are always read. If no file has a measure from
            `OWN_MEASURES`, the measure is null.
        where: Load only the rows that match this expression in DuckDB's SQL.
        tasks: Load only these tasks of each stream, given as START:STOP, as if the
            stream had no other tasks: the task START gets the number 0, and the column
            tasks is the number of these tasks.
        measure: One more column to load. Problems without values in it are left out:
            control, for example, has no accuracy.
        with_stopped: Whether to load also the complete runs of settings that a race has
            stopped. The runs that a race cut short are in files of their own; if
            `results` is such a file, these runs are always loaded.

    Raises:
        UsageError: There are no records; a file is damaged, is not a file of records or
            was written by a newer version; two rows contradict each other; a column is
            unknown; no run has the measure; the filter is wrong or matches no row; or
            `tasks` is not a range or leaves no task of a stream.
    """
    if measure is not None:
        columns = [*(columns or ()), measure]
    part = None if tasks is None else _parse_tasks(tasks)
    with translate_errors(results):
        filesystem, root = open_results(results)
    words = re.findall(r"\w+", (where or "").lower())
    names = None if columns is None else {*NEEDED, *columns, *words}
    parts = _read_files(results, filesystem, root, names)
    if not parts:
        raise _no_records(results)
    files = [part.file for part in parts]
    known = _merge_columns(files)
    if measure is not None and measure not in known:
        raise no_measure(measure)
    for name in columns or ():
        if name in OWN_MEASURES:
            known.setdefault(name, Column(REAL, True, "measure", "", ""))
        choose("column", name, known)
    table = _concatenate(parts, known, names)
    origin = np.repeat(np.arange(len(parts)), [p.table.num_rows for p in parts])
    requests = read_study_files(filesystem, root)
    if not with_stopped and root.split("/")[-2:-1] != [STOPPED]:
        rows = _rows_to_load(table, requests)
        if len(rows) < len(origin):
            table, origin = table.take(rows), origin[rows]
    if not table.num_rows:
        raise _no_records(results)
    if where is not None:
        rows = matching_rows(table, where, known)
        if not len(rows):
            raise _no_match(results, table, where, [n for n in known if n in words])
        everything = table
        table, origin = table.take(rows), origin[rows]
        _describe_filter(everything, table)
        if columns is not None:
            table = table.select(_choose_columns(known, {*NEEDED, *columns}))
    table = _drop_duplicates(table, known, lambda row: files[origin[row]].path)
    check_fractions(table, known, "move the wrong file to another folder")
    if part is not None:
        table = _select_tasks(table, part)
    if measure is not None:
        table = _with_measure(table, measure)
    return Records(
        table,
        files,
        known,
        {study: request.confirming for study, request in requests.items()},
        first_task=part.start if part is not None else 0,
    )


def _with_measure(table: pa.Table, measure: str) -> pa.Table:
    """Return the records of the problems that have a measure."""
    rows = table.filter(pc.invert(table["diverged"]))  # diverged runs have no measures
    measured = rows.filter(pc.is_valid(rows[measure]))["problem"].unique().to_pylist()
    if len(rows) and not measured:
        raise no_measure(measure)
    others = set(rows["problem"].to_pylist()).difference(measured)
    names = pa.array(sorted(others), pa.string())
    return table.filter(pc.invert(pc.is_in(table["problem"], names)))


def no_measure(measure: str) -> UsageError:
    """Return the error that the records have no values of a measure."""
    return UsageError(
        f"the records have no {measure}: choose another measure with --measure "
        "(problems of control have mean_return, last_return, return_gap or value_error)"
    )


def _rows_to_load(
    table: pa.Table, requests: Mapping[str, Request]
) -> npt.NDArray[np.int64]:
    """Return the rows of settings that no race stopped; print how many it stopped."""
    left = np.ones(table.num_rows, dtype=bool)
    count = 0
    for study, request in requests.items():
        if request.race and (stopped := request.race.stopped):
            own = pc.equal(table["study"], study)
            is_in = pc.is_in(table["setting_id"], pa.array(stopped, pa.string()))
            is_stopped = pc.and_(own, is_in)
            count += len(table["setting_id"].filter(is_stopped).unique())
            left &= ~is_stopped.to_numpy()
    if count:
        print(
            f"note: left out {count} of the settings, because --refine stopped them "
            "before they had all seeds",
            file=sys.stderr,
        )
    return np.flatnonzero(left)


def _describe_filter(table: pa.Table, kept: pa.Table) -> None:
    """Print to standard error what a filter kept, and whether it cut runs short."""

    def count(keys: list[str], rows: pa.Table) -> pd.Series[int]:
        groups = rows.group_by(keys).aggregate([([], "count_all")])
        counts: pd.DataFrame = groups.to_pandas().set_index(keys)
        return counts["count_all"]

    setting, run = ["study", "setting_id"], ["study", "run_id"]
    before, after = (len(count(setting, rows)) for rows in (table, kept))
    print(
        f"where: kept {kept.num_rows:,} of {table.num_rows:,} records, {after:,} of "
        f"{before:,} settings",
        file=sys.stderr,
    )
    left = count(run, kept)
    if cut := int((count(run, table).reindex(left.index) > left).sum()):
        print(
            f"note: the filter removed some tasks of {cut:,} of {len(left):,} runs, so "
            "these runs count as incomplete: use --tasks START:STOP to choose tasks",
            file=sys.stderr,
        )


def _parse_tasks(text: str) -> slice:
    """Return START:STOP as a slice; START is 0 if the text does not have it.

    >>> _parse_tasks("1:"), _parse_tasks(":10")
    (slice(1, None, None), slice(0, 10, None))
    """
    match = re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})", text)
    # Text of another form becomes the empty range 0:0, which raises the error below.
    start, stop = match.groups() if match else ("", "0")
    part = slice(int(start or 0), int(stop) if stop else None)
    if part.stop is not None and part.stop <= part.start:
        raise UsageError(
            f"--tasks is {text!r}: give START:STOP with START below STOP, for example "
            "'1:' (all tasks but the first) or '0:10' (the first ten)"
        )
    return part


def _select_tasks(table: pa.Table, part: slice) -> pa.Table:
    """Return the records of some tasks, as if each stream had only these tasks.

    A run that diverged before these tasks has no record of them. Its record with
    `diverged` is kept, because the run would otherwise seem to be missing.
    """
    run = ["study", "run_id"]
    frame = table.select([*run, "task", "tasks", "diverged"]).to_pandas()
    stops = frame["tasks"].clip(upper=part.stop)
    if (stops <= part.start).any():
        shortest = frame["tasks"].min()
        raise UsageError(
            f"--tasks begins at task {part.start}, but there is a stream that has only "
            f"{shortest} tasks: leave out its problem with --where, or begin earlier"
        )
    inside = (frame["task"] >= part.start) & (frame["task"] < stops)
    early = frame["diverged"] & (frame["task"] < part.start)
    if early.any():
        keys = [frame[name] for name in run]
        gone = frame[early & ~inside.groupby(keys).transform("any")]
        inside[gone.drop_duplicates(run).index] = True
    table = table.filter(pa.array(inside))
    task = (frame["task"] - part.start).clip(lower=0)[inside]
    for name, values in (("task", task), ("tasks", (stops - part.start)[inside])):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), pa.array(values))
    return table


def check_fractions(table: pa.Table, known: Mapping[str, Column], advice: str) -> None:
    """Raise a UsageError if a fraction, such as an accuracy, is not between 0 and 1."""
    for name in table.column_names:
        if known[name].unit != "fraction" or known[name].type != REAL:
            continue
        ends = pc.min_max(table[name]).as_py()
        if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] <= 1:
            raise UsageError(
                f"column {name} has values from {ends['min']:g} to {ends['max']:g}, "
                "but must be a fraction from 0 to 1: divide percentages by 100, or "
                f"{advice}"
            )


@attrs.frozen
class _Part:
    """The description of a file of records, and its rows as they are in the file."""

    file: RecordsFile
    table: pa.Table


def _read_files(
    results: str, filesystem: fs.FileSystem, root: str, names: set[str] | None
) -> list[_Part]:
    """Read the columns in `names` and the setting's columns of all files.

    `root` is the path of `results` in the file system. If `names` is None, read all
    columns.
    """
    reader = _Reader(filesystem, names)

    def find_files() -> list[str]:
        with translate_errors(results):
            info = filesystem.get_file_info(root)
            if info.type == fs.FileType.NotFound:
                raise UsageError(
                    f"{results} does not exist: give an existing folder of results"
                )
            return sorted(_list_files(filesystem, info))

    # Two threads are enough for local files, because Python's lock limits them. Remote
    # files need more threads, because a thread mostly waits for the network.
    with ThreadPoolExecutor(2 if reader.is_local else None) as pool:
        parts = read_current(
            find_files,
            lambda paths: pool.map(reader.read, paths),
            lambda part: part.file.replaces,
        )
    return list(parts.values())


def _list_files(filesystem: fs.FileSystem, root: fs.FileInfo) -> list[str]:
    """Return the paths of the record files that `root` is or contains."""

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


def _choose_columns(
    columns: Mapping[str, Column], names: Collection[str] | None
) -> list[str]:
    """Return the columns in `names` and all columns that describe the setting.

    If `names` is None, return all columns.
    """
    return [
        name
        for name, column in columns.items()
        if names is None or name in names or column.role == "setting"
    ]


class _Reader:
    """Reads files of records; files with equal schemas share one description.

    Making the description of a file takes as long as reading its columns, and the
    thousands of files of a study have one schema.
    """

    def __init__(self, filesystem: fs.FileSystem, names: set[str] | None) -> None:
        """Set the columns to read; see `_read_files`."""
        self.is_local = isinstance(filesystem, fs.LocalFileSystem)
        self._filesystem = filesystem
        self._names = names
        # metadata of a file -> its schema and its description
        self._known: dict[Any, tuple[pq.ParquetSchema, RecordsFile]] = {}

    def read(self, path: str) -> _Part | None:
        """Return the description and the rows of a file; None if it does not exist."""
        try:
            with (
                self._filesystem.open_input_file(path) as source,
                pq.ParquetFile(source, pre_buffer=not self.is_local) as parquet,
            ):
                file = self._describe(path, parquet)
                replaces = replaced_names(path, parquet.metadata.metadata)
                # Several files are read in parallel, so there is no need to read the
                # columns of one file in parallel.
                table = parquet.read(
                    _choose_columns(file.columns, self._names), use_threads=False
                )
        except FileNotFoundError:  # the file was merged after it was listed
            return None
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path} is damaged or not a Parquet file ({one_line(error)}): move "
                "the file to another folder and run the study again to replace its "
                "records"
            ) from None
        studies = tuple(sorted(map(printable, table["study"].unique().to_pylist())))
        file = attrs.evolve(file, path=path, studies=studies, replaces=replaces)
        return _Part(file, table)

    def _describe(self, path: str, parquet: pq.ParquetFile) -> RecordsFile:
        """Return the description that all files with the same schema share."""
        # These metadata include the Arrow schema, which has each column's metadata.
        key = frozenset((parquet.metadata.metadata or {}).items())
        known = self._known.get(key)
        if known and parquet.schema.equals(known[0]):
            return known[1]
        schema = parquet.schema_arrow
        if error := schema_error(schema):
            raise UsageError(f"{path} {error}")
        metadata = {
            name.decode(errors="replace"): printable(value.decode(errors="replace"))
            for name, value in (schema.metadata or {}).items()
            if not name.startswith((b"ARROW:", b"pandas", REPLACES.encode()))
        }
        file = RecordsFile(path, (), metadata, file_columns(schema))
        self._known[key] = parquet.schema, file
        return file


def _replace_control_characters(table: pa.Table) -> pa.Table:
    """Replace the characters of a text that could change a terminal or a page."""
    for index, field in enumerate(table.schema):
        if not pa.types.is_string(field.type):
            continue
        column = table.column(index)
        # Search only the distinct values. Most columns have few, so this is faster than
        # to search every row.
        if pc.any(pc.match_substring_regex(column.unique(), RE2_CONTROL)).as_py():
            clean = pc.replace_substring_regex(column, RE2_CONTROL, "\ufffd")
            table = table.set_column(index, field, clean)
    return table


def _merge_columns(files: Sequence[RecordsFile]) -> dict[str, Column]:
    """Return the columns of all files and `KNOWN_COLUMNS`, sorted by role."""
    merged = dict(KNOWN_COLUMNS)
    # Look at one file of each schema: files with equal schemas share `columns`.
    firsts = {id(file.columns): file for file in reversed(files)}
    for file in reversed(firsts.values()):
        for name, column in file.columns.items():
            if name in KNOWN_COLUMNS and column.meaning:
                nullable = column.nullable or merged[name].nullable
                merged[name] = attrs.evolve(column, nullable=nullable)
            elif merged.setdefault(name, column).type != column.type:
                raise UsageError(
                    f"column {name} has type {column.type} in {file.path} but type "
                    f"{merged[name].type} in another file: put the "
                    "files into separate folders and analyze each folder"
                )
    order = sorted(merged, key=lambda name: ROLES.index(merged[name].role))
    return {name: merged[name] for name in order}


def _concatenate(
    parts: Sequence[_Part], known: dict[str, Column], names: set[str] | None
) -> pa.Table:
    """Join the rows of all files; a column that a file does not have is null there."""
    tables = []
    # Files in succession that have equal columns are checked and cast together.
    for _, group in itertools.groupby(parts, lambda part: id(part.file.columns)):
        own = list(group)
        columns = own[0].file.columns
        chosen = _choose_columns(columns, names)
        table = pa.concat_tables([part.table for part in own]).select(chosen)
        for name in chosen:
            nullable = columns[name].nullable and name not in REQUIRED
            if table[name].null_count and not nullable:
                path = next(p.file.path for p in own if p.table[name].null_count)
                raise UsageError(
                    f"{path} has missing values in column {name}, which must have a "
                    "value in every row: restore the file, or move it to another "
                    "folder and run the study again"
                )
        tables.append(table.cast(pa.schema([(n, columns[n].type) for n in chosen])))
    table = pa.concat_tables(tables, promote_options="default")
    chosen = _choose_columns(known, names)
    for name in chosen:
        if name not in table.column_names:
            nulls = pa.nulls(table.num_rows, known[name].type)
            table = table.append_column(name, nulls)
    return _replace_control_characters(table.select(chosen))


def _drop_duplicates(
    table: pa.Table, known: dict[str, Column], path_of: Callable[[int], str]
) -> pa.Table:
    """Return the table with each row once, and print a note about repeated rows.

    `path_of` gets the number of a row, and returns the path of the row's file.
    """
    numbers = np.zeros(table.num_rows, dtype=np.int64)  # equal for rows of equal `KEY`
    for name in KEY:
        column = table[name].dictionary_encode().combine_chunks()
        numbers = numbers * len(column.dictionary) + column.indices.to_numpy()
    keys = pd.Series(numbers)
    is_repeated = keys.duplicated().to_numpy()
    if not is_repeated.any():
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
            "wrong file to another folder"
        )
    print(
        f"note: {is_repeated.sum()} rows are repeated with equal results (for example "
        f"in {path_of(np.flatnonzero(is_repeated)[0])}); each row is used only once",
        file=sys.stderr,
    )
    return table.filter(pa.array(~is_repeated))


def _no_records(results: str) -> UsageError:
    return UsageError(
        f"no records in {results} (the expected files are STUDY/records/*.parquet): "
        "run a study with python -m study.sweep"
    )


def _no_match(
    results: str, table: pa.Table, where: str, names: Sequence[str]
) -> UsageError:
    """Return the error for a filter, with the values of the columns in `names`."""
    texts = []
    for name in names:
        if pa.types.is_list(table[name].type):
            continue
        values = sorted(table[name].drop_null().unique().to_pylist())
        listed = ", ".join(map(str, values[:MAX_VALUES])) or "null everywhere"
        texts.append(f"{name} is {listed}{', ...' if len(values) > MAX_VALUES else ''}")
    hint = f": in these records {'; '.join(texts)}" if texts else ""
    return UsageError(f'--where "{where}" matches no record in {results}{hint}')
