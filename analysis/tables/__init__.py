"""Tables: from records to numbers, and from numbers to text.

To add one, write a module with a `Table` and add a line to `TABLES`.
"""

from analysis.tables import accuracy
from analysis.tables.formats import Table

TABLES: dict[str, Table] = {"accuracy": accuracy.TABLE}
"""What `python -m analysis table` prints."""
