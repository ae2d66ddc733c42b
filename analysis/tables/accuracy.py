"""The table of test accuracy along the stream.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Tables 1 and 2, for the change; the
intervals, the slope and the accuracies at the two ends are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
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
from analysis.tables.formats import Cells, Column, Row, Sheet, Table, make_sheet, number
from analysis.tables.words import (
    ALWAYS,
    PER,
    name_seeds,
    percent,
    percent_interval,
    plain_rows,
    settings_of,
    shorten,
    value_cell,
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
    where undefined. The records need `NEEDED` and test_accuracy.
    """
    rows = []
    for runs in by_setting(frame):
        seeds = {
            "missing_seeds": runs.missing,
            "incomplete_seeds": runs.incomplete,
            "diverged_seeds": runs.diverged,
            "extra_seeds": runs.extra,
        }
        row: dict[str, Any] = {
            "study": runs.study,
            "setting_id": runs.setting_id,
            **runs.setting,
            "runs": len(runs.seeds),
            "expected": runs.expected,
            "diverged": len(runs.diverged),
            **{name: " ".join(map(str, own)) for name, own in seeds.items()},
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
    settings = settings_of(rows, "runs")
    shared = {n: v for n, v in implied_values(settings).items() if n not in ALWAYS}
    differing = varying_columns(settings)
    named = [*ALWAYS, *(n for n in differing if n not in (*ALWAYS, *shared))]
    same = {n: v for n, v in settings[0].items() if n not in (*named, "problem")}
    caption = ", ".join(
        f"{name} {'none' if value is None else show(value)}"
        for name, value in (same | shared).items()
        if value is not None or name == "intervention"
    )
    cells: Cells = {
        **{Column(n, right=n not in PARTS): value_cell(n) for n in named},
        number("runs"): _count_runs,
        number("change", "pp/100 tasks"): partial(
            percent_interval, name="accuracy_change", scale=PER
        ),
        number("slope", "pp/100 tasks"): partial(
            percent_interval, name="accuracy_slope", scale=PER
        ),
        number("first", "%"): lambda row: percent(row["first_accuracy"]),
        number("last", "%"): lambda row: percent(row["last_accuracy"]),
        number("diverged"): value_cell("diverged"),
    }
    return make_sheet(title, caption, cells, rows, _notes(rows, labels(settings)))


def _count_runs(row: Row) -> str:
    runs, expected = row["runs"], row["expected"]
    return str(runs) if runs == expected else f"{runs} of {expected}"


def _notes(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Yield which seeds the means leave out or add, and why."""
    for column, text in NOTES.items():
        lines = [
            text.format(setting=name, seeds=name_seeds(row[column]))
            for name, row in zip(names, rows, strict=True)
            if row[column]
        ]
        yield from shorten(lines)


TABLE = Table(("test_accuracy",), accuracy_table, accuracy_sheets, EXPLANATION)
