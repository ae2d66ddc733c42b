"""Tables: compute numbers from records, and show the numbers as text.

To add a table, write a module with a `Table` and add a line to `TABLES`.
"""

from analysis.records.load import EVERYTHING, Selection, load
from analysis.statistics.metrics import MEASURE, MEASURES
from analysis.tables import accuracy
from analysis.tables.formats import Table, print_sheets
from trainables.usage import choose

TABLES: dict[str, Table] = {"accuracy": accuracy.TABLE}
"""The tables that `python -m analysis table` prints, by name."""


def print_tables(
    results: str,
    format: str = "rich",
    selection: Selection = EVERYTHING,
    measure: str = MEASURE,
) -> None:
    """Print every table in `TABLES` for the records under `results`.

    Args:
        results: The folder, file or URI of the records; see `load_records`.
        format: One of `formats.FORMATS`, or csv.
        selection: The records to use.
        measure: The measure that the tables show, a key of `MEASURES`.

    Raises:
        UsageError: The format is unknown, or there are no readable records.
    """
    choose("measure", measure, MEASURES)
    columns = sorted({name for table in TABLES.values() for name in table.columns})
    frame = load(results, columns, *selection, measure=measure)
    for table in TABLES.values():
        data = table.data(frame, measure)
        print_sheets(data, table.sheets(data), table.explanation, format)
