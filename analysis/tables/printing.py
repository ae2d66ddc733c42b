"""Print all tables in `TABLES`."""

from __future__ import annotations

from analysis.records.load import load
from analysis.tables import TABLES
from analysis.tables.formats import print_sheets


def print_tables(
    results: str = "results", format: str = "rich", where: str | None = None
) -> None:
    """Print every table in `TABLES` for the records under `results`.

    Args:
        results: The folder, file or URI of the records; see `load_records`.
        format: One of `FORMATS`, or csv.
        where: A filter of the records in SQL; None selects all records.

    Raises:
        UsageError: The format is unknown, or there are no readable records.
    """
    columns = {name for table in TABLES.values() for name in table.columns}
    frame = load(results, sorted(columns), where)
    for table in TABLES.values():
        data = table.data(frame)
        print_sheets(data, table.sheets(data), table.explanation, format)
