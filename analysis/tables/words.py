"""How tables write numbers, seeds and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

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


def percent_interval(row: Mapping[str, Any], name: str, scale: int = 1) -> str:
    """Return a mean ± half its interval, in per cent of `scale` times the numbers.

    Args:
        row: The mean stands under `name`, its interval under `name`_lo and `name`_hi.
        name: Which number.
        scale: `PER` for a change per task.

    >>> percent_interval({"x": 0.5, "x_lo": 0.4, "x_hi": 0.6}, "x")
    '50.00 ± 10.00'
    """
    mean, lo, hi = row[name], row[f"{name}_lo"], row[f"{name}_hi"]
    if pd.isna(mean):
        return "n/a"
    half = None if pd.isna(lo) else scale * (hi - lo) / 2
    return f"{percent(scale * mean)} ± {percent(half)}"


def name_seeds(text: str) -> str:
    """Return seeds as words, with neighbours joined.

    >>> name_seeds("4"), name_seeds("0 1 2 5")
    ('seed 4', 'seeds 0-2, 5')
    """
    seeds = [int(seed) for seed in text.split()]
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    names = ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in spans)
    return f"seed{'s' if len(seeds) > 1 else ''} {names}"


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


def setting_columns(rows: Sequence[Mapping[str, Any]], last: str) -> list[str]:
    """Return the columns of the setting in rows of a table.

    Args:
        rows: They have study, setting_id, the columns of the setting and `last`, in
            this order.
        last: The first column after those of the setting.
    """
    names = list(rows[0])
    return names[names.index("setting_id") + 1 : names.index(last)]


def plain_rows(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain values, None for null."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in data.to_dict("records")
    ]
