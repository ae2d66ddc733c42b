"""The table of accuracy along the stream: the paper's Tables 1 and 2, and more.

Source: Koster & Kukla 2024 (arXiv 2409.17300) for the change; the intervals, the slope
and the ends are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.runs import PARTS, by_setting, implied, labels, show, varying
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import METRICS
from analysis.tables.formats import Column, Sheet
from trainables.record import WHAT

SHOWN = ("accuracy_change", "accuracy_slope", "first_accuracy", "last_accuracy")
ALWAYS = ("optimizer", "lr", "rho", "alpha")
PER = 100
"""Tasks that a change or a slope is told of: of one, it would be all zeros."""

LONGEST = 12
"""How many settings the notes under a table name before they only count."""

EXPLANATION = (
    "Test accuracy after each task; mean over the runs that neither diverged "
    "nor stopped early, ± half of its 95% t-interval over those runs; "
    "pp: percentage points, 1 pp/100 tasks is a change of 0.0001 a task; n/a: too few "
    "runs or tasks.",
    "change: mean of acc[t+1] - acc[t] over the tasks, as in Tables 1 and 2 of "
    "Koster & Kukla (2024, arXiv 2409.17300). It equals (last - first) / "
    "(tasks - 1), so it sees only the two ends of the stream.",
    "slope: least-squares line of accuracy by task, which sees every task.",
)
"""What a reader of the table needs to know."""


def accuracy_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a setting: how its test accuracy goes along the stream.

    Columns: study, setting_id and the columns `WHAT`; runs (averaged over), expected,
    diverged; missing_seeds, incomplete_seeds, diverged_seeds and extra_seeds, which few
    others have (as text, "0 3"); and for each metric M of `SHOWN` its mean over the
    runs M, with M_lo and M_hi, the ends of its 95% t-interval. Fractions, per task for
    change and slope; NaN where undefined.
    """
    rows = []
    for runs in by_setting(frame):
        row: dict[str, Any] = {
            "study": runs.study,
            "setting_id": runs.setting_id,
            **runs.setting,
            "runs": len(runs.seeds),
            "expected": runs.expected,
            "diverged": len(runs.diverged),
            "missing_seeds": " ".join(map(str, runs.missing)),
            "incomplete_seeds": " ".join(map(str, runs.incomplete)),
            "diverged_seeds": " ".join(map(str, runs.diverged)),
            "extra_seeds": " ".join(map(str, runs.extra)),
        }
        for name in SHOWN:
            interval = mean_interval(METRICS[name](runs.matrix))
            for suffix, value in zip(("", "_lo", "_hi"), interval, strict=True):
                row[name + suffix] = float(value)
        rows.append(row)
    return pd.DataFrame(rows)


def accuracy_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each study and problem of an `accuracy_table`."""
    return [
        _sheet(str(study), str(problem), part)
        for (study, problem), part in data.groupby(["study", "problem"], sort=False)
    ]


def _sheet(study: str, problem: str, part: pd.DataFrame) -> Sheet:
    """Return one sheet: the settings of one study on one problem."""
    rows: list[dict[str, Any]] = [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in part.to_dict("records")
    ]
    differ = varying(rows)
    unsaid = {n: value for n, value in implied(rows).items() if n not in ALWAYS}
    named = [*ALWAYS, *(n for n in differ if n not in (*ALWAYS, *unsaid))]
    columns = [Column(name, right=name not in PARTS) for name in named] + [
        Column("runs", right=True),
        Column("change", "pp/100 tasks", right=True),
        Column("slope", "pp/100 tasks", right=True),
        Column("first", "%", right=True),
        Column("last", "%", right=True),
        Column("diverged", right=True),
    ]
    same = {n: rows[0][n] for n in WHAT if n not in (*named, "problem")} | unsaid
    said = ", ".join(
        f"{name} {_plain(value)}"
        for name, value in same.items()
        if value is not None or name == "intervention"
    )
    cells = [[show(row[name]) for name in named] + _measured(row) for row in rows]
    return Sheet(
        f"{problem}, study {study}", said, columns, cells, list(_notes(part, rows))
    )


def _plain(value: Any) -> str:
    """Return a setting's value within a sentence."""
    return "none" if value is None else show(value)


def _measured(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row that say what came out."""
    runs, expected = row["runs"], row["expected"]
    return [
        str(runs) if runs == expected else f"{runs} of {expected}",
        _spread(row, "accuracy_change"),
        _spread(row, "accuracy_slope"),
        percent(row["first_accuracy"]),
        percent(row["last_accuracy"]),
        str(row["diverged"]),
    ]


def _spread(row: dict[str, Any], name: str) -> str:
    """Return mean ± half the interval, in percentage points per 100 tasks."""
    mean, lo, hi = row[name], row[f"{name}_lo"], row[f"{name}_hi"]
    if mean is None:
        return "n/a"
    half = None if lo is None else (hi - lo) / 2
    return " ± ".join(
        percent(None if rate is None else PER * rate) for rate in (mean, half)
    )


def percent(fraction: float | None) -> str:
    """Return a fraction in per cent, without a minus before a zero.

    >>> percent(0.91234), percent(-1e-9), percent(None)
    ('91.23', '0.00', 'n/a')
    """
    if fraction is None:
        return "n/a"
    return f"{np.round(100 * fraction, 2) + 0.0:.2f}"


def _notes(part: pd.DataFrame, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield which seeds of which settings are not in the means, and why."""
    names = labels(rows)
    for column, fate in (
        ("missing_seeds", "has no records of"),
        ("incomplete_seeds", "is not through the stream with"),
        ("diverged_seeds", "diverged with"),
        ("extra_seeds", "alone, or with few others, has"),
    ):
        lacking = [
            f"{name} {fate} {name_seeds(row[column])}"
            for name, row in zip(names, rows, strict=True)
            if row[column]
        ]
        yield from (f"{line}." for line in lacking[:LONGEST])
        if len(lacking) > LONGEST:
            more = len(lacking) - LONGEST
            yield f"So it is with {more} more settings: --format csv lists them."


def name_seeds(text: str) -> str:
    """Return seeds as words, neighbours drawn together.

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
    said = ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in spans)
    return f"seed{'s' if len(seeds) > 1 else ''} {said}"
