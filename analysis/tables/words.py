"""Format numbers, seeds and settings as text for tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.runs import show
from analysis.statistics.metrics import Metric, find_metric
from analysis.tables.formats import Row
from trainables.request import seeds_text
from trainables.usage import UsageError

ALWAYS = ("optimizer", "lr", "rho", "alpha")
"""The columns of a setting that every table shows."""

PER = 100
"""Tables show changes per this many tasks; changes per task would round to zero."""

LONGEST = 12
"""The maximum number of names in a note. The note counts the other names."""


def percent(fraction: float | None) -> str:
    """Return a fraction as text in per cent. A zero has no minus sign.

    >>> percent(0.91234), percent(-1e-9), percent(None)
    ('91.23', '0.00', 'n/a')
    """
    if fraction is None or np.isnan(fraction):
        return "n/a"
    return f"{np.round(100 * fraction, 2) + 0.0:.2f}"


def percent_interval(row: Row, name: str, scale: int = 1) -> str:
    """Return a mean ± half of its interval as text in per cent, times `scale`.

    The row has the mean in the column `name` and the ends of its interval in the
    columns NAME_lo and NAME_hi.

    >>> percent_interval({"x": 0.5, "x_lo": 0.4, "x_hi": 0.6}, "x")
    '50.00 ± 10.00'
    """
    mean: float | None = row[name]
    lo: float | None = row[f"{name}_lo"]
    if mean is None or np.isnan(mean):
        return "n/a"
    half = None if lo is None else scale * (row[f"{name}_hi"] - lo) / 2
    return f"{percent(scale * mean)} ± {percent(half)}"


def unit_of(metric: Metric) -> str:
    """Return the unit in which tables show a difference of the metric."""
    return f"pp/{PER} tasks" if metric.per_task else "pp"


def metric_and_unit(row: Row) -> str:
    """Return the name and the unit of the metric in a row, as text."""
    return f"{row['metric'].replace('_', ' ')} ({unit_of(find_metric(row['metric']))})"


def metric_value(row: Row, name: str) -> str:
    """Return the number in a column as text, in the unit of the row's metric."""
    value, scale = row[name], PER if find_metric(row["metric"]).per_task else 1
    return percent(None if pd.isna(value) else scale * value)


def metric_difference(row: Row) -> str:
    """Return the difference ± half of its interval, in the unit of the row's metric.

    The row has the columns metric, difference, lo and hi.
    """
    interval = {"d": row["difference"], "d_lo": row["lo"], "d_hi": row["hi"]}
    return percent_interval(
        interval, "d", PER if find_metric(row["metric"]).per_task else 1
    )


def value_cell(name: str) -> Callable[[Row], str]:
    """Return a function that returns the text of one column of a row."""
    return lambda row: show(row[name])


def name_seeds(text: str) -> str:
    """Return seeds as words. Consecutive seeds become a range.

    >>> name_seeds("4"), name_seeds("0 1 2 5")
    ('seed 4', 'seeds 0-2, 5')
    """
    seeds = [int(seed) for seed in text.split()]
    return f"seed{'s' if len(seeds) > 1 else ''} {seeds_text(seeds).replace('+', ', ')}"


def first_and_count(names: Sequence[str]) -> str:
    """Return the first `LONGEST` names as text, and the number of other names.

    >>> first_and_count(["a", "b"]), first_and_count(list("abcdefghijklmn"))[-12:]
    ('a, b', 'l and 2 more')
    """
    more = f" and {len(names) - LONGEST} more" if len(names) > LONGEST else ""
    return f"{', '.join(names[:LONGEST])}{more}"


def count_range(counts: Iterable[int]) -> str:
    """Return the smallest and the largest of some counts as text.

    >>> count_range([3, 3]), count_range([2, 5, 3])
    ('3', '2 to 5')
    """
    low, *others = sorted(set(counts))
    return f"{low} to {others[-1]}" if others else str(low)


def too_many(count: int, what: str, most: int) -> UsageError:
    """Return the error for a figure that cannot show this many items.

    Args:
        count: The number of items.
        what: What the items are, for example "settings".
        most: The maximum number of items in the figure.
    """
    return UsageError(
        f"there are {count} {what}, but a figure shows at most {most}: choose settings "
        "with --setting ID (python -m analysis table --format csv lists the IDs)"
    )


def shorten(lines: Sequence[str], kind: str = "") -> list[str]:
    """Return the first `LONGEST` notes on settings; a last note counts the others."""
    if len(lines) <= LONGEST:
        return list(lines)
    more = f"{len(lines) - LONGEST} more settings{kind}"
    return [
        *lines[:LONGEST],
        f"The same is true of {more}. Use --format csv to list them.",
    ]


def settings_of(rows: Sequence[Row], end: str) -> list[dict[str, Any]]:
    """Return the columns of the setting from each row of a table.

    These columns are between the column setting_id and the column `end`.
    """
    names = list(rows[0])
    names = names[names.index("setting_id") + 1 : names.index(end)]
    return [{name: row[name] for name in names} for row in rows]


def plain_rows(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dicts, with None for null."""
    plain = data.astype(object)
    rows: list[Any] = plain.where(plain.notna(), None).to_dict("records")
    return rows
