"""Query tables with DuckDB: filter the rows, or run a SELECT."""

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
"""Options of DuckDB: a query cannot read files, the network or Python variables."""


def matching_rows(
    table: pa.Table, where: str, columns: Iterable[str]
) -> npt.NDArray[np.int64]:
    """Return the row numbers (from 0, ascending) of the rows that match a filter.

    Args:
        table: The rows to filter.
        where: An expression in DuckDB's SQL, for example "lr = 0.01". A comparison with
            null does not match.
        columns: The names of columns. If the filter has an unknown column, the error
            suggests the most similar of these names.

    Raises:
        UsageError: The filter is not an expression, or has an unknown column.
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
    """Run a SELECT in DuckDB's SQL on tables with these names, and return its rows.

    Raises:
        UsageError: The query is wrong or returns no table.
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
        raise UsageError("the query returns no table: use a SELECT")
    return frame


def _connect(tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(config=dict(CLOSED))
    for name, table in tables.items():
        connection.register(name, table)
    return connection


def _query_error(subject: str, error: Exception, columns: Iterable[str]) -> UsageError:
    """Return an error of DuckDB as a `UsageError` of one line."""
    message = str(error).split("\n\nLINE")[0]
    if unknown := re.search(r'column "([^"]*)" not found', message):
        try:
            choose("column", unknown[1], columns)
        except UsageError as mistake:
            message = str(mistake).partition("Known: ")[0].strip(" :")
        message += f" (text needs single quotes: '{unknown[1]}')"
    message = re.sub(r"^\w+ Error: ", "", message)
    return UsageError(f"{subject}: {' '.join(message.split())}")
