"""The table of test accuracy along the stream of tasks.

The change of accuracy is that of Tables 1 and 2 of Koster & Kukla 2024 (arXiv
2409.17300). This program adds the intervals, the slope, and the accuracy on the first
and the last task.
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
"""The metrics that the table shows."""

NOTES = {
    "missing_seeds": "{setting} has no records of {seeds}.",
    "incomplete_seeds": "{setting} has not finished the stream with {seeds}.",
    "diverged_seeds": "{setting} diverged with {seeds}.",
    "extra_seeds": "{setting} also has {seeds}, which most other settings lack.",
}
"""The text of each note, by the column that lists its seeds."""

EXPLANATION = (
    "Test accuracy is measured on each task after training on it. The numbers are "
    "means ± half of their 95% t-interval, over the runs that finished all tasks and "
    "did not diverge. pp: percentage points. 1 pp/100 tasks: the accuracy (from 0 to "
    "1) changes by 0.0001 per task. n/a: there are too few runs or tasks.",
    "change: the mean change of accuracy from one task to the next, as in Tables 1 and "
    "2 of Koster & Kukla (2024, arXiv 2409.17300). It equals (last - first) / "
    "(tasks - 1), so it depends on the first and the last task only.",
    "slope: the slope of the least-squares line through the accuracy on all tasks.",
)


def accuracy_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting: how its test accuracy changes along the stream.

    The columns are:

    - study, setting_id and the columns of the setting
    - runs: the number of complete runs, which the means are over
    - expected, diverged: the number of expected runs and of diverged runs
    - missing_seeds, incomplete_seeds, diverged_seeds, extra_seeds: seeds as text, for
      example "0 3"
    - for each metric M of `SHOWN`: M, the mean over the runs; M_lo and M_hi, the ends
      of its 95% t-interval

    Accuracies are fractions from 0 to 1. The change and the slope are per task. An
    undefined number is NaN.

    Args:
        frame: Records with the columns `NEEDED` and test_accuracy.
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
    """Return one sheet per study and problem; `data` is from `accuracy_table`."""
    return [
        _sheet(f"{problem}, study {study}", plain_rows(part))
        for (study, problem), part in data.groupby(["study", "problem"], sort=False)
    ]


def _sheet(title: str, rows: list[dict[str, Any]]) -> Sheet:
    """Return the sheet of one problem, with the shared values in its caption."""
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
    """Yield notes on the missing, incomplete, diverged and extra seeds of settings."""
    for column, text in NOTES.items():
        lines = [
            text.format(setting=name, seeds=name_seeds(row[column]))
            for name, row in zip(names, rows, strict=True)
            if row[column]
        ]
        yield from shorten(lines)


TABLE = Table(("test_accuracy",), accuracy_table, accuracy_sheets, EXPLANATION)
