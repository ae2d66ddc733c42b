"""Tables: the records of a study as rows a reader can compare.

A table is data, then words: a function of the records gives a data frame of plain
numbers (what `csv` prints), another turns that into sheets of text, which
`analysis.tables.formats` sets. To add one: two functions and a line in `TABLES`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.records.load import load
from analysis.records.runs import NEEDED
from analysis.tables.accuracy import EXPLANATION, accuracy_sheets, accuracy_table
from analysis.tables.formats import FORMATS, Sheet
from trainables.usage import choose


@dataclass(frozen=True)
class Table:
    """A table: its numbers, and what a reader needs to understand them."""

    columns: tuple[str, ...]
    """Of the records, what it is made from."""
    data: Callable[[pd.DataFrame], pd.DataFrame]
    sheets: Callable[[pd.DataFrame], list[Sheet]]
    explanation: tuple[str, ...]


def print_tables(
    results: str = "results", format: str = "rich", where: str | None = None
) -> None:
    """Print every table of the records under `results` on standard output.

    Args:
        results: What `analysis.records.load.load` takes.
        format: One of `formats.FORMATS`, or csv: full-precision numbers and
            nothing else, the notes going to standard error.
        where: Which records, in the language of `analysis.records.where`; all if None.

    Raises:
        UsageError: There are no records, or they cannot be read; unknown format.
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
    """Print a table on standard output: its sheets, or as csv its data.

    Args:
        data: Full-precision numbers.
        sheets: The same as text; of csv only the notes are shown, on standard error.
        explanation: What a reader needs to understand the sheets.
        format: One of `analysis.tables.formats.FORMATS`, or csv.
    """
    if format != "csv":
        sys.stdout.write(FORMATS[format](sheets, explanation))
        return
    sys.stdout.write(data.to_csv(index=False, lineterminator="\n"))
    for sheet in sheets:
        for note in sheet.notes:
            print(f"note: {sheet.title}: {note}", file=sys.stderr)


TABLES: dict[str, Table] = {
    "accuracy": Table(
        columns=(*NEEDED, "test_accuracy"),
        data=accuracy_table,
        sheets=accuracy_sheets,
        explanation=EXPLANATION,
    ),
}
