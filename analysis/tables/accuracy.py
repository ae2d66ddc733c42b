"""The table of test accuracy along the stream of tasks.

The change of accuracy is defined as in Tables 1 and 2 of Koster & Kukla 2024 (arXiv
2409.17300). This program adds the intervals, the slope, and the accuracy on the first
and the last task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.records.runs import (
    PARTS,
    Reals,
    Setting,
    by_setting,
    implied_values,
    labels,
    plain_rows,
    show,
    varying_columns,
)
from analysis.statistics.intervals import Interval, mean_interval
from analysis.statistics.metrics import MEASURE, MEASURES, METRICS
from analysis.tables.cautions import cautions
from analysis.tables.formats import Cells, Column, Row, Sheet, Table, make_sheet, number
from analysis.tables.words import (
    ALWAYS,
    metric_cell,
    name_seeds,
    settings_of,
    shorten,
    unit_of_level,
    value_cell,
    write_interval,
)

SHOWN = {
    "accuracy_change": "change",
    "accuracy_slope": "slope",
    "first_accuracy": "first",
    "last_accuracy": "last",
    "late_accuracy": "late",
}
"""The metrics that the table shows, and their headings."""

NOTES = {
    "missing_seeds": "{setting} has no records of {seeds}.",
    "incomplete_seeds": "{setting} has not finished the stream with {seeds}.",
    "diverged_seeds": "{setting} diverged with {seeds}, so the mean of the other runs "
    "is too good.",
    "extra_seeds": "{setting} also has {seeds}, which most other settings lack. This "
    "table leaves these seeds out.",
}
"""The text of each note, by the column that lists its seeds."""

EXPLANATION = (
    "The measure is test accuracy after each task, unless the title names another "
    "measure. The numbers are means ± half of their 95% t-interval, over the runs that "
    "finished all tasks and did not diverge. over stream: from the first task to the "
    "last. pp: percentage points. n/a: there are too few runs or tasks.",
    "change: last minus first. It depends on two tasks only. Divided by the number of "
    "tasks less 1, it is the mean change from one task to the next, as in Tables 1 and "
    "2 of Koster & Kukla (2024, arXiv 2409.17300). --format csv prints this mean "
    "change.",
    "slope: the slope of the least-squares line through the measure on all tasks, "
    "times the number of tasks less 1.",
    "late: the mean over the last tenth of the tasks.",
)


def accuracy_table(frame: pd.DataFrame, measure: str = MEASURE) -> pd.DataFrame:
    """Return one row per setting: how its accuracy changes along the stream.

    The columns are:

    - study, setting_id and the columns of the setting
    - runs: the number of complete runs; the means are over these runs
    - expected, diverged: the number of expected runs and of diverged runs; extra seeds
      are left out of these numbers and of the means
    - missing_seeds, incomplete_seeds, diverged_seeds, extra_seeds: seeds as text, for
      example "0 3"
    - measure: the name of the measure
    - for each metric M of `SHOWN`: M, the mean over the runs; M_lo and M_hi, the ends
      of its 95% t-interval

    Accuracies are fractions from 0 to 1. The change and the slope are per task. An
    undefined number is NaN. `measure` is a key of `MEASURES`.
    """
    rows, values = [], []
    for all_runs in by_setting(frame, measure):
        runs = all_runs.select_seeds(all_runs.usual_seeds)
        seeds = {
            "missing_seeds": runs.missing,
            "incomplete_seeds": runs.incomplete,
            "diverged_seeds": runs.diverged,
            "extra_seeds": all_runs.extra,
        }
        row: dict[str, Any] = {
            "study": runs.study,
            "setting_id": runs.setting_id,
            **runs.setting,
            "runs": len(runs.seeds),
            "expected": runs.expected,
            "diverged": len(runs.diverged),
            **{name: " ".join(map(str, own)) for name, own in seeds.items()},
            "measure": measure,
        }
        values.append(np.stack([METRICS[name](runs.matrix) for name in SHOWN]))
        rows.append(row)
    for row, interval in zip(rows, _intervals(values), strict=True):
        for name, *ends in zip(SHOWN, *interval, strict=True):
            row |= Interval(*ends).columns(name)
    return pd.DataFrame(rows)


def _intervals(values: Sequence[Reals]) -> list[Interval]:
    """Return the intervals of the metrics of each setting.

    The values of a setting have shape (metrics, runs). To save much time, settings with
    equally many runs are computed together.
    """
    intervals: dict[int, Interval] = {}
    for count in {own.shape[1] for own in values}:
        chosen = [i for i, own in enumerate(values) if own.shape[1] == count]
        stacked = np.stack([values[i] for i in chosen]).transpose(2, 0, 1)
        parts = zip(*mean_interval(stacked), strict=True)
        intervals |= {i: Interval(*p) for i, p in zip(chosen, parts, strict=True)}
    return [intervals[i] for i in range(len(values))]


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
        **_numbers(rows[0]["measure"]),
        number("diverged"): value_cell("diverged"),
    }
    if rows[0]["measure"] != MEASURE:
        title = f"{title}: {MEASURES[rows[0]['measure']].words}"
    notes = [*_notes(rows, settings), *cautions(settings)]
    return make_sheet(title, caption, cells, rows, notes)


def _numbers(measure: str) -> Cells:
    """Return the columns of the metrics `SHOWN`, for a measure."""
    cells: Cells = {}
    for name, heading in SHOWN.items():
        metric = METRICS[name].of(measure)
        cell: Callable[[Row], str] = partial(write_interval, name=name, metric=metric)
        if heading in ("first", "last"):
            cell = metric_cell(name, metric)
        cells[number(heading, unit_of_level(metric))] = cell
    return cells


def _count_runs(row: Row) -> str:
    runs, expected = row["runs"], row["expected"]
    return str(runs) if runs == expected else f"{runs} of {expected}"


def _notes(rows: Sequence[Row], settings: Sequence[Setting]) -> Iterator[str]:
    """Yield notes on the missing, incomplete, diverged and extra seeds of settings."""
    if not any(row[column] for row in rows for column in NOTES):
        return  # the names of the settings, which only notes need, take long to make
    names = labels(settings)
    for column, text in NOTES.items():
        lines = [
            text.format(setting=name, seeds=name_seeds(row[column]))
            for name, row in zip(names, rows, strict=True)
            if row[column]
        ]
        yield from shorten(lines)


TABLE = Table(("test_accuracy",), accuracy_table, accuracy_sheets, EXPLANATION)
