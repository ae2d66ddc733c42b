"""Query tables with DuckDB: a filter of rows, or a whole SELECT.

The database is in memory and cannot reach files, the network or Python's variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trainables.usage import UsageError, choose

if TYPE_CHECKING:
    import duckdb

CLOSED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
"""DuckDB's configuration: no files, no network, no Python variables as tables."""


def matching_rows(
    table: pa.Table, where: str, columns: Iterable[str]
) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows that a filter matches, ascending.

    The filter is one expression of DuckDB's SQL, for example "lr = 0.01". As in SQL, a
    comparison with null matches nothing. `columns` are those that an error suggests.

    Raises:
        UsageError: The filter is not an expression, or names an unknown column.
    """
    import duckdb

    row = "row_number_"
    table = table.append_column(row, pa.array(np.arange(table.num_rows)))
    with _connect({"records": table}) as connection:
        try:
            matches = connection.table("records").filter(where).project(row)
            rows = matches.fetchnumpy()[row]
        except duckdb.Error as error:
            raise _query_error(f'--where "{where}"', error, columns) from None
    return np.sort(np.asarray(rows, dtype=np.int64))


def run_query(query: str, tables: Mapping[str, pa.Table]) -> pd.DataFrame:
    """Return the rows of a SELECT of DuckDB's SQL over these tables.

    Raises:
        UsageError: The query is wrong, or no SELECT.
    """
    import duckdb

    columns = {name for table in tables.values() for name in table.column_names}
    with _connect(tables) as connection:
        try:
            relation = connection.sql(query)
            frame: pd.DataFrame | None = None if relation is None else relation.df()
        except duckdb.Error as error:
            raise _query_error("the query", error, columns) from None
    if frame is None:
        raise UsageError("the query returns no table: give a SELECT")
    return frame


def _connect(tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(config=dict(CLOSED))
    for name, table in tables.items():
        connection.register(name, table)
    return connection


def _query_error(subject: str, error: Exception, columns: Iterable[str]) -> UsageError:
    """Return DuckDB's error as one line; of an unknown column, with the nearest one."""
    message = str(error).split("\n\nLINE")[0]
    if unknown := re.search(r'column "([^"]*)" not found', message):
        try:
            choose("column", unknown[1], columns)
        except UsageError as mistake:
            message = str(mistake).partition("Known: ")[0].strip(" :")
        message += f" (text needs single quotes: '{unknown[1]}')"
    message = re.sub(r"^\w+ Error: ", "", message)
    return UsageError(f"{subject}: {' '.join(message.split())}")
