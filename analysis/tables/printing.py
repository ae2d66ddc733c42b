"""Print tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd

from analysis.records.load import load
from analysis.tables import TABLES
from analysis.tables.formats import FORMATS, Sheet
from trainables.usage import choose


def print_tables(
    results: str = "results", format: str = "rich", where: str | None = None
) -> None:
    """Print every table of `TABLES` for the records under `results`.

    Args:
        results: As for `analysis.records.load.load`.
        format: One of `FORMATS`, or csv.
        where: A filter of the records; all if None.

    Raises:
        UsageError: The format is unknown, or there are no readable records.
    """
    choose("format", format, [*FORMATS, "csv"])
    columns = {name for table in TABLES.values() for name in table.columns}
    frame = load(results, sorted(columns), where)
    for table in TABLES.values():
        data = table.data(frame)
        print_sheets(data, table.sheets(data), table.explanation, format)


def print_sheets(
    data: pd.DataFrame, sheets: Sequence[Sheet], explanation: Sequence[str], format: str
) -> None:
    """Print a table as text, or its data as csv with the notes on standard error.

    Args:
        data: The numbers in full precision.
        sheets: The same numbers as text.
        explanation: What a reader needs to understand the sheets.
        format: One of `FORMATS`, or csv.
    """
    if format != "csv":
        sys.stdout.write(FORMATS[format](sheets, explanation))
        return
    sys.stdout.write(data.to_csv(index=False, lineterminator="\n"))
    for sheet in sheets:
        for note in sheet.notes:
            print(f"note: {sheet.title}: {note}", file=sys.stderr)
