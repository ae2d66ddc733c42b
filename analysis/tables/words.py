"""How tables write numbers, seeds and settings."""

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
"""The columns of a setting that every table has."""

PER = 100
"""Changes and slopes are reported per 100 tasks; per task they would round to zero."""

LONGEST = 12
"""The most settings that a note names; it counts the others."""


def percent(fraction: float | None) -> str:
    """Return a fraction in per cent, without a minus before a zero.

    >>> percent(0.91234), percent(-1e-9), percent(None)
    ('91.23', '0.00', 'n/a')
    """
    if fraction is None or np.isnan(fraction):
        return "n/a"
    return f"{np.round(100 * fraction, 2) + 0.0:.2f}"


def percent_interval(row: Row, name: str, scale: int = 1) -> str:
    """Return a mean ± half its interval, in per cent of `scale` times the numbers.

    The mean stands under `name`, its interval under NAME_lo and NAME_hi.

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
    """Return the unit of a difference in a metric, as tables write it."""
    return f"pp/{PER} tasks" if metric.per_task else "pp"


def metric_and_unit(row: Row) -> str:
    """Return the name and the unit of a row's metric."""
    return f"{row['metric'].replace('_', ' ')} ({unit_of(find_metric(row['metric']))})"


def metric_value(row: Row, name: str) -> str:
    """Return a number in the unit of the row's metric."""
    value, scale = row[name], PER if find_metric(row["metric"]).per_task else 1
    return percent(None if pd.isna(value) else scale * value)


def metric_difference(row: Row) -> str:
    """Return the difference in the row's metric, ± half of its interval (lo, hi)."""
    interval = {"d": row["difference"], "d_lo": row["lo"], "d_hi": row["hi"]}
    return percent_interval(
        interval, "d", PER if find_metric(row["metric"]).per_task else 1
    )


def value_cell(name: str) -> Callable[[Row], str]:
    """Return the function that shows a column of a row; see `make_sheet`."""
    return lambda row: show(row[name])


def name_seeds(text: str) -> str:
    """Return seeds as words, with neighbours joined.

    >>> name_seeds("4"), name_seeds("0 1 2 5")
    ('seed 4', 'seeds 0-2, 5')
    """
    seeds = [int(seed) for seed in text.split()]
    return f"seed{'s' if len(seeds) > 1 else ''} {seeds_text(seeds).replace('+', ', ')}"


def first_and_count(names: Sequence[str]) -> str:
    """Return the first `LONGEST` names, and how many more there are.

    >>> first_and_count(["a", "b"]), first_and_count(list("abcdefghijklmn"))[-12:]
    ('a, b', 'l and 2 more')
    """
    more = f" and {len(names) - LONGEST} more" if len(names) > LONGEST else ""
    return f"{', '.join(names[:LONGEST])}{more}"


def count_range(counts: Iterable[int]) -> str:
    """Return how many there are of something, from the fewest to the most.

    >>> count_range([3, 3]), count_range([2, 5, 3])
    ('3', '2 to 5')
    """
    low, *others = sorted(set(counts))
    return f"{low} to {others[-1]}" if others else str(low)


def too_many(count: int, what: str, most: int) -> UsageError:
    """Return the error of a figure that cannot show so many of something."""
    return UsageError(
        f"there are {count} {what}, and a figure shows at most {most}: choose settings "
        "with --setting ID (table --format csv lists the IDs)"
    )


def shorten(lines: Sequence[str], kind: str = "") -> list[str]:
    """Return the first `LONGEST` of notes on settings, and how many more there are."""
    if len(lines) <= LONGEST:
        return list(lines)
    more = f"{len(lines) - LONGEST} more settings{kind}"
    return [
        *lines[:LONGEST],
        f"The same is true of {more}: --format csv lists them.",
    ]


def settings_of(rows: Sequence[Row], end: str) -> list[dict[str, Any]]:
    """Return the settings of a table's rows.

    Their columns stand between setting_id and the column `end`.
    """
    names = list(rows[0])
    names = names[names.index("setting_id") + 1 : names.index(end)]
    return [{name: row[name] for name in names} for row in rows]


def plain_rows(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain values, None for null."""
    plain = data.astype(object)
    rows: list[Any] = plain.where(plain.notna(), None).to_dict("records")
    return rows
