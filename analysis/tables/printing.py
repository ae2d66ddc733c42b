"""Print all tables in `TABLES`."""

from __future__ import annotations

from analysis.records.load import Selection, load
from analysis.statistics.metrics import MEASURE, MEASURES
from analysis.tables import TABLES
from analysis.tables.formats import print_sheets
from trainables.usage import choose


def print_tables(
    results: str = "results",
    format: str = "rich",
    selection: Selection | None = None,
    measure: str = MEASURE,
) -> None:
    """Print every table in `TABLES` for the records under `results`.

    Args:
        results: The folder, file or URI of the records; see `load_records`.
        format: One of `FORMATS`, or csv.
        selection: The records to use; None means all.
        measure: The measure that the tables show, a key of `MEASURES`.

    Raises:
        UsageError: The format is unknown, or there are no readable records.
    """
    choose("measure", measure, MEASURES)
    selection = selection or Selection()
    columns = sorted({name for table in TABLES.values() for name in table.columns})
    frame = load(results, columns, selection.where, selection.tasks, measure=measure)
    for table in TABLES.values():
        data = table.data(frame, measure)
        print_sheets(data, table.sheets(data), table.explanation, format)
