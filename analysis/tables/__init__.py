"""Tables: compute numbers from records, and show the numbers as text.

To add a table, write a module with a `Table` and add a line to `TABLES`.
"""

from analysis.tables import accuracy
from analysis.tables.formats import Table

TABLES: dict[str, Table] = {"accuracy": accuracy.TABLE}
"""The tables that `python -m analysis table` prints, by name."""
