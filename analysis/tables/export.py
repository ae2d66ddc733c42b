"""Export records, or a row per run with its metrics, as one file for other programs.

A Parquet file of records is again input for every command of this program.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from analysis.records.load import Records, load_records
from analysis.records.runs import Runs, by_setting, setting_columns
from analysis.records.write import write_file
from analysis.statistics.metrics import METRICS
from trainables.record import SCHEMA_VERSION
from trainables.usage import UsageError

SUFFIXES = (".csv", ".parquet")

RUN_COLUMNS = ("test_accuracy", "steps", "seconds", "device")
"""The columns of the records that `runs_table` needs beside `NEEDED`."""


def write_export(
    results: str, output: str, runs: bool = False, where: str | None = None
) -> str:
    """Write a file of records or of runs, and return a line that says so.

    Args:
        results: As for `analysis.records.load.load`.
        output: The file; its suffix is the format. In CSV null is empty, and a list is
            JSON.
        runs: Write a row per run (`runs_table`) instead of one per run and task.
        where: A filter of the records; all if None.

    Raises:
        UsageError: The suffix is unknown, there are no records, or the file cannot be
            written.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise UsageError(f"cannot write {output}: give it a suffix, {known}")
    records = load_records(results, RUN_COLUMNS if runs else None, where)
    table = runs_table(records) if runs else _with_metadata(records)
    write_file(output, _to_csv(table) if suffix == ".csv" else _to_parquet(table))
    rows = "runs" if runs else "records"
    return f"wrote {output}: {table.num_rows:,} {rows}, {table.num_columns} columns"


def _with_metadata(records: Records) -> pa.Table:
    """Return the records as a table that describes itself, as a records file does."""
    fields = [records.columns[n].to_field(n) for n in records.table.column_names]
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "commit": "several, see the files this is made from",
    }
    return records.table.cast(pa.schema(fields, metadata=metadata))


def _to_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def _to_csv(table: pa.Table) -> bytes:
    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            lists = table[field.name].to_pylist()
            texts = [None if v is None else json.dumps(v) for v in lists]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def runs_table(records: Records) -> pa.Table:
    """Return one row per run: its outcome and its metrics.

    Columns: study, setting_id, run_id, seed and those of the setting; fate (whole,
    diverged or incomplete); tasks_done, steps, seconds, device; and every metric of
    `METRICS`, null unless the run is whole.

    Args:
        records: Records with `NEEDED` and `RUN_COLUMNS`.
    """
    frame = records.to_frame()
    settings = setting_columns(frame)
    keys = ["study", "setting_id", "seed"]
    sums = frame.groupby(keys, sort=False, observed=True).agg(
        run_id=("run_id", "first"),
        tasks_done=("task", "size"),
        steps=("steps", "sum"),
        seconds=("seconds", "sum"),
        device=("device", "first"),
    )
    rows = pd.concat(map(_metric_rows, by_setting(frame)), ignore_index=True)
    rows = rows.join(sums, on=keys)
    first = ["study", "setting_id", "run_id", "seed", *settings, "fate", *sums]
    rows = rows[list(dict.fromkeys([*first, *rows]))]
    table = pa.Table.from_pandas(rows, preserve_index=False)
    # A column may be null for all runs, which has no type of its own.
    types = {name: records.columns[name].type for name in settings}
    schema = pa.schema([(f.name, types.get(f.name, f.type)) for f in table.schema])
    return table.cast(schema)


def _metric_rows(runs: Runs) -> pd.DataFrame:
    """Return a row per run of one setting, by seed."""
    seeds = [*runs.seeds, *runs.diverged, *runs.incomplete]
    undefined = np.full(len(seeds) - len(runs.seeds), np.nan)
    fates = ["whole"] * len(runs.seeds) + ["diverged"] * len(runs.diverged)
    fates += ["incomplete"] * len(runs.incomplete)
    columns = {
        "study": runs.study,
        "setting_id": runs.setting_id,
        "seed": seeds,
        **{name: [value] * len(seeds) for name, value in runs.setting.items()},
        "fate": fates,
        **{
            name: np.concatenate([metric(runs.matrix), undefined])
            for name, metric in METRICS.items()
        },
    }
    return pd.DataFrame(columns).sort_values("seed")
