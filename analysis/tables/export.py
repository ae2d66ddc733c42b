"""Export records or a table of runs to a file, or query them with SQL.

Every analysis command can read a Parquet file of exported records.
"""

from __future__ import annotations

import fnmatch
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from analysis.records.load import (
    EVERYTHING,
    Records,
    Selection,
    join_metadata,
    load_records,
)
from analysis.records.query import run_query
from analysis.records.runs import Runs, by_setting, setting_columns
from analysis.records.write import to_parquet, write_file
from analysis.statistics.metrics import METRICS
from analysis.tables.formats import Column, Sheet, print_sheets
from trainables.record import SCHEMA_VERSION
from trainables.usage import UsageError

SUFFIXES = (".csv", ".parquet")
"""The suffixes of the formats that `write_export` can write."""

RUN_COLUMNS = ("test_accuracy", "steps", "seconds", "device")
"""The columns of the records that `runs_table` needs, besides `NEEDED`."""


def write_export(
    results: str,
    output: str,
    runs: bool = False,
    selection: Selection = EVERYTHING,
    without: Sequence[str] = (),
    digits: int | None = None,
) -> str:
    """Write records or runs to a file, and return a message with their number.

    In CSV, a null is an empty cell and a list is written as JSON.

    Args:
        results: The folder, file or URI of the records; see `load_records`.
        output: The path of the file. Its suffix, .csv or .parquet, sets the format.
        runs: Whether to write the rows of `runs_table`, not those of the records.
        selection: The records to use.
        without: Shell patterns of the measures to leave out of the records.
        digits: Round the measures of the records, except fractions such as accuracy, to
            this many significant digits. None means that nothing is rounded.

    Raises:
        UsageError: The suffix is unknown; `digits` is below 1; `runs` is given together
            with `without` or `digits`; the records cannot be loaded (see
            `load_records`); a pattern matches no measure; or the file cannot be
            written.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise UsageError(f"cannot write {output}: the file name must end in {known}")
    if runs and (without or digits):
        raise UsageError(
            "--without and --digits have no effect on runs: leave them out, or leave "
            "out --runs"
        )
    if digits is not None and digits < 1:
        raise UsageError(f"--digits is {digits}: give a number of 1 or more")
    columns = RUN_COLUMNS if runs else None
    records = load_records(results, columns, *selection, with_stopped=True)
    if runs:
        table = runs_table(records)
    else:
        table = _with_metadata(records).drop_columns(_matching(records, without))
        table = table if digits is None else _round(table, records, digits)
    write_file(output, _to_csv(table) if suffix == ".csv" else to_parquet(table))
    rows = "runs" if runs else "records"
    return f"wrote {output}: {table.num_rows:,} {rows}, {table.num_columns} columns"


def _with_metadata(records: Records) -> pa.Table:
    """Return the records as a table with the metadata of a records file."""
    fields = [records.columns[n].to_field(n) for n in records.table.column_names]
    metadata = join_metadata(records.files, "unknown")
    metadata["schema_version"] = str(SCHEMA_VERSION)
    metadata.pop("column_names_crc", None)  # the checksum of one file's columns
    return records.table.cast(pa.schema(fields, metadata=metadata))


def _matching(records: Records, patterns: Sequence[str]) -> list[str]:
    """Return the measures whose names match at least one of the shell patterns."""
    known = [name for name, c in records.columns.items() if c.role == "measure"]
    matching: set[str] = set()
    for pattern in patterns:
        if not (names := fnmatch.filter(known, pattern)):
            raise UsageError(
                f"--without {pattern} matches no measure of the records: give a "
                "pattern such as 'layer_*'"
            )
        matching.update(names)
    return sorted(matching)


def _round(table: pa.Table, records: Records, digits: int) -> pa.Table:
    """Return the records with rounded measures, except fractions."""
    for i, field in enumerate(table.schema):
        is_fraction = records.columns[field.name].unit == "fraction"
        if is_fraction or field.name not in records.number_columns:
            continue
        values = table[field.name].to_pylist()
        rounded = [None if v is None else float(f"{v:.{digits}g}") for v in values]
        table = table.set_column(i, field, pa.array(rounded, field.type))
    return table


def _to_csv(table: pa.Table) -> bytes:
    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            lists = table[field.name].to_pylist()
            texts = [None if v is None else json.dumps(v) for v in lists]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def print_query(results: str, query: str, format: str = "rich") -> None:
    """Run a DuckDB SELECT query on the table `records` or `runs`, and print the rows.

    Raises:
        UsageError: There are no readable records, or the query is invalid.
    """
    records = load_records(results, with_stopped=True)
    tables = {"records": records.table}
    if re.search(r"\bruns\b", query, re.IGNORECASE):
        tables["runs"] = runs_table(records)
    data = run_query(query, tables)
    columns = [
        Column(str(name), right=pd.api.types.is_numeric_dtype(data[name]))
        for name in data
    ]
    rows = [[*map(_show_value, row)] for row in data.itertuples(index=False)]
    title = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    print_sheets(data, [Sheet(title, "", columns, rows)], (), format)


def _show_value(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def runs_table(records: Records) -> pa.Table:
    """Return a table with one row per run: its outcome and its metrics.

    The columns are:

    - study, setting_id, run_id, seed, and the columns of the setting
    - outcome: complete, diverged or incomplete
    - tasks_done, steps, seconds, device
    - every metric of `METRICS`; null if the run is not complete
    - fate: the outcome under its old column name, for older queries; a complete run
      is called whole

    `records` need the columns `RUN_COLUMNS`.
    """
    frame = records.to_frame()
    settings = setting_columns(frame)
    keys = ["study", "setting_id", "seed"]
    groups = frame.groupby(keys, sort=False, observed=True)
    sums = groups.agg(run_id=("run_id", "first"), tasks_done=("task", "size"))
    # The sum of nulls is null: the results of other programs can lack times.
    sums = sums.join(groups[["steps", "seconds"]].sum(min_count=1))
    sums = sums.join(groups["device"].first())
    rows = pd.concat(map(_metric_rows, by_setting(frame)), ignore_index=True)
    rows = rows.join(sums, on=keys)
    rows["fate"] = rows["outcome"].replace("complete", "whole")
    first = ["study", "setting_id", "run_id", "seed", *settings, "outcome", *sums]
    rows = rows[list(dict.fromkeys([*first, *rows]))]
    table = pa.Table.from_pandas(rows, preserve_index=False)
    # A column that is null for all runs has no type. Use the type in the records.
    types = {name: records.columns[name].type for name in settings}
    schema = pa.schema([(f.name, types.get(f.name, f.type)) for f in table.schema])
    return table.cast(schema)


def _metric_rows(runs: Runs) -> pd.DataFrame:
    """Return one row per run of one setting, sorted by seed."""
    outcomes = {
        **dict.fromkeys(runs.seeds, "complete"),
        **dict.fromkeys(runs.diverged, "diverged"),
        **dict.fromkeys(runs.incomplete, "incomplete"),
    }
    undefined = np.full(len(outcomes) - len(runs.seeds), np.nan)
    columns = {
        "study": runs.study,
        "setting_id": runs.setting_id,
        "seed": list(outcomes),
        **{name: [value] * len(outcomes) for name, value in runs.setting.items()},
        "outcome": list(outcomes.values()),
        **{
            name: np.concatenate([metric(runs.matrix), undefined])
            for name, metric in METRICS.items()
        },
    }
    return pd.DataFrame(columns).sort_values("seed")
