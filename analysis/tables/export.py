"""Export: the records, or a row a run with its metrics, as one file for other programs.

A Parquet file of records is again what every command of this program takes.
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

from analysis.records.load import load
from analysis.records.runs import NEEDED, by_setting
from analysis.statistics.metrics import METRICS
from analysis.records.write import write_file
from trainables.record import KNOWN_COLUMNS, SETTING_COLUMNS, schema
from trainables.usage import UsageError

SUFFIXES = (".csv", ".parquet")

RUNS = (*NEEDED, "test_accuracy", "steps", "seconds", "device")
"""Of the records, what a row a run is made from."""


def write_export(
    results: str, output: str, runs: bool = False, where: str | None = None
) -> str:
    """Write a file of records or of runs, and return what was written, in a line.

    Args:
        results: What `analysis.records.load.load` takes.
        output: The file; its suffix is its format. In CSV null is empty, and a list is
            text as JSON has it.
        runs: A row a run (`per_run`) instead of a row a run and task.
        where: Which records, in the language of `analysis.records.where`; all if None.

    Raises:
        UsageError: An unknown suffix, no records, or `output` cannot be written.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise UsageError(f"cannot write {output}: give it a suffix, {known}")
    if runs:
        frame = per_run(load(results, RUNS, where))
        table = pa.Table.from_pandas(frame, preserve_index=False)
        table = table.replace_schema_metadata(None)
    else:
        frame = load(results, None, where)
        kinds = schema({"commit": "several, see the files this is made from"})
        table = pa.Table.from_pandas(frame, schema=kinds, preserve_index=False)
        table = table.replace_schema_metadata(kinds.metadata)
    write_file(output, _as_csv(table) if suffix == ".csv" else _as_parquet(table))
    what = "runs" if runs else "records"
    return f"wrote {output}: {table.num_rows:,} {what}, {table.num_columns} columns"


def _as_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def _as_csv(table: pa.Table) -> bytes:
    """Return a table as CSV: numbers to the last digit, nothing where there is null."""
    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            lists = table[field.name].to_pylist()
            texts = [None if v is None else json.dumps(v) for v in lists]
            table = table.set_column(i, field.name, pa.array(texts, pa.string()))
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def per_run(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run: what became of it, and its metrics.

    Columns: study, setting_id, run_id, seed and the columns `SETTING_COLUMNS`; fate (whole,
    diverged or incomplete); tasks_done, steps, seconds, device; and every metric of
    `analysis.statistics.metrics.METRICS`, null unless the run is whole.

    Args:
        frame: Records with `RUNS`.
    """
    keys = ["study", "setting_id", "seed"]
    grouped = frame.groupby(keys, sort=False, observed=True)
    whole = grouped.agg(
        run_id=("run_id", "first"),
        tasks_done=("task", "size"),
        steps=("steps", "sum"),
        seconds=("seconds", "sum"),
        device=("device", "first"),
    )
    parts = []
    for runs in by_setting(frame):
        seeds = [*runs.seeds, *runs.diverged, *runs.incomplete]
        lost = np.full(len(seeds) - len(runs.seeds), np.nan)
        part = pd.DataFrame(
            {
                "study": runs.study,
                "setting_id": runs.setting_id,
                "seed": seeds,
                **runs.setting,
                "fate": ["whole"] * len(runs.seeds)
                + ["diverged"] * len(runs.diverged)
                + ["incomplete"] * len(runs.incomplete),
                **{
                    name: np.concatenate([metric(runs.matrix), lost])
                    for name, metric in METRICS.items()
                },
            }
        )
        parts.append(part.sort_values("seed"))
    # a column may be null in all of one setting's rows and not in another's
    kinds = {
        name: KNOWN_COLUMNS[name].type.to_pandas_dtype()
        for name in SETTING_COLUMNS
        if pa.types.is_floating(KNOWN_COLUMNS[name].type)
    }
    table = pd.concat([part.astype(kinds) for part in parts], ignore_index=True)
    table = table.join(whole, on=keys)
    first = ["study", "setting_id", "run_id", "seed", *SETTING_COLUMNS, "fate"]
    first += ["tasks_done", "steps", "seconds", "device"]
    return table[first + [name for name in table if name not in first]]
