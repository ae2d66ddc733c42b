"""The table of test accuracy along the stream.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Tables 1 and 2, for the change; the
intervals, the slope and the accuracies at the two ends are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.records.runs import (
    PARTS,
    by_setting,
    implied_values,
    labels,
    show,
    varying_columns,
)
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import METRICS
from analysis.tables.formats import Column, Sheet
from analysis.tables.table import Table
from analysis.tables.words import (
    ALWAYS,
    LONGEST,
    PER,
    name_seeds,
    percent,
    percent_interval,
    plain_rows,
    setting_columns,
)

SHOWN = ("accuracy_change", "accuracy_slope", "first_accuracy", "last_accuracy")

NOTES = {
    "missing_seeds": "{setting} has no records of {seeds}.",
    "incomplete_seeds": "{setting} has not finished the stream with {seeds}.",
    "diverged_seeds": "{setting} diverged with {seeds}.",
    "extra_seeds": "{setting} also has {seeds}, which most other settings lack.",
}
"""What a note says about a setting, by the column of the seeds."""

EXPLANATION = (
    "Test accuracy after each task: mean ± half of the 95% t-interval over the runs "
    "that finished the stream without diverging. pp: percentage points; "
    "1 pp/100 tasks is a change of 0.0001 per task. n/a: too few runs or tasks.",
    "change: mean of acc[t+1] - acc[t] over the tasks, as in Tables 1 and 2 of "
    "Koster & Kukla (2024, arXiv 2409.17300). It equals (last - first) / (tasks - 1), "
    "so it depends on the first and the last task only.",
    "slope: slope of the least-squares line through the accuracy on all tasks.",
)


def accuracy_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting: how its test accuracy changes along the stream.

    Columns: study, setting_id and the setting; runs (the number averaged), expected,
    diverged; missing_seeds, incomplete_seeds, diverged_seeds and extra_seeds as text
    ("0 3"); and for each metric M of `SHOWN` its mean M over the runs, and M_lo and
    M_hi, the ends of its 95% t-interval. Fractions, per task for change and slope; NaN
    where undefined.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
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
            row |= mean_interval(METRICS[name](runs.matrix)).columns(name)
        rows.append(row)
    return pd.DataFrame(rows)


def accuracy_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each study and problem of an `accuracy_table`."""
    return [
        _sheet(f"{problem}, study {study}", plain_rows(part))
        for (study, problem), part in data.groupby(["study", "problem"], sort=False)
    ]


def _sheet(title: str, rows: list[dict[str, Any]]) -> Sheet:
    """Return the sheet of one problem: what settings share goes into the caption."""
    names = setting_columns(rows, "runs")
    settings = [{name: row[name] for name in names} for row in rows]
    shared = {n: v for n, v in implied_values(settings).items() if n not in ALWAYS}
    differing = varying_columns(settings)
    named = [*ALWAYS, *(n for n in differing if n not in (*ALWAYS, *shared))]
    same = {n: rows[0][n] for n in names if n not in (*named, "problem")} | shared
    caption = ", ".join(
        f"{name} {'none' if value is None else show(value)}"
        for name, value in same.items()
        if value is not None or name == "intervention"
    )
    columns = [
        *(Column(name, right=name not in PARTS) for name in named),
        Column("runs", right=True),
        Column("change", "pp/100 tasks", right=True),
        Column("slope", "pp/100 tasks", right=True),
        Column("first", "%", right=True),
        Column("last", "%", right=True),
        Column("diverged", right=True),
    ]
    cells = [[show(row[name]) for name in named] + _results(row) for row in rows]
    return Sheet(title, caption, columns, cells, list(_notes(rows, labels(settings))))


def _results(row: dict[str, Any]) -> list[str]:
    runs, expected = row["runs"], row["expected"]
    return [
        str(runs) if runs == expected else f"{runs} of {expected}",
        percent_interval(row, "accuracy_change", PER),
        percent_interval(row, "accuracy_slope", PER),
        percent(row["first_accuracy"]),
        percent(row["last_accuracy"]),
        str(row["diverged"]),
    ]


def _notes(rows: list[dict[str, Any]], names: list[str]) -> Iterator[str]:
    """Yield which seeds the means leave out or add, and why."""
    for column, text in NOTES.items():
        lines = [
            text.format(setting=name, seeds=name_seeds(row[column]))
            for name, row in zip(names, rows, strict=True)
            if row[column]
        ]
        yield from lines[:LONGEST]
        if len(lines) > LONGEST:
            more = len(lines) - LONGEST
            yield f"The same is true of {more} more settings: --format csv lists them."


TABLE = Table(("test_accuracy",), accuracy_table, accuracy_sheets, EXPLANATION)
