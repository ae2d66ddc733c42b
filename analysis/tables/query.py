"""Print the rows of a SELECT over records and runs."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from analysis.records.load import load_records
from analysis.records.query import run_query
from analysis.tables.export import runs_table
from analysis.tables.formats import FORMATS, Column, Sheet
from analysis.tables.printing import print_sheets
from trainables.usage import choose


def print_query(results: str, query: str, format: str = "rich") -> None:
    """Print the rows of a SELECT.

    Args:
        results: As for `analysis.records.load.load`.
        query: A SELECT of DuckDB's SQL over records (a row per run and task) and runs
            (a row per run with its metrics, see `runs_table`).
        format: One of `FORMATS`, or csv.

    Raises:
        UsageError: The format is unknown, there are no readable records, or the query
            is wrong.
    """
    choose("format", format, [*FORMATS, "csv"])
    records = load_records(results)
    tables = {"records": records.table}
    if re.search(r"\bruns\b", query, re.IGNORECASE):
        tables["runs"] = runs_table(records)
    print_sheets(*_to_sheet(run_query(query, tables)), (), format)


def _to_sheet(data: pd.DataFrame) -> tuple[pd.DataFrame, list[Sheet]]:
    """Return the rows, and as a sheet."""
    columns = [
        Column(str(name), right=pd.api.types.is_numeric_dtype(data[name]))
        for name in data
    ]
    rows = [[_cell(value) for value in row] for row in data.itertuples(index=False)]
    count = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    return data, [Sheet(count, "", columns, rows, [])]


def _cell(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
