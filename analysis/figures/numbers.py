"""A figure's numbers as sheets: what a reader looks up beside the drawing.

A stream of a hundred tasks is told at its ends and at tenths; the command with a file
that ends in .csv has every point in full precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.formats import Column, Sheet

LOOKED_UP = 11
"""Of a long stream, how many tasks are told."""


def looked_up(tasks: Sequence[int]) -> list[int]:
    """Return at most `LOOKED_UP` of ascending tasks, the ends among them.

    >>> looked_up(range(4)), looked_up(range(101))[:3]
    ([0, 1, 2, 3], [0, 10, 20])
    """
    tasks = list(tasks)
    if len(tasks) <= LOOKED_UP:
        return tasks
    places = np.linspace(0, len(tasks) - 1, LOOKED_UP).round().astype(int)
    return [tasks[place] for place in places]


def by_label(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet a problem of `accuracy_by_task`: tasks down, settings across."""
    return [
        _by_task(f"{problem}: test accuracy (%)", part, 100, ".2f")
        for problem, part in data.groupby("problem", sort=False)
    ]


def by_measure(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each problem and measure of `measures_by_task`."""
    return [
        _by_task(f"{problem}: {str(measure).replace('_', ' ')}", part, 1, ".4g")
        for (problem, measure), part in data.groupby(["problem", "measure"], sort=False)
    ]


def _by_task(title: str, data: pd.DataFrame, scale: int, digits: str) -> Sheet:
    """Return mean ± half the interval, a row a task, a column a setting."""
    settings = data.drop_duplicates("setting_id")
    names = dict(zip(settings["setting_id"], settings["label"], strict=True))
    tasks = looked_up(sorted(set(data["task"].tolist())))
    cells = {
        (row["task"], row["setting_id"]): tell(row, scale, digits)
        for row in data[data["task"].isin(tasks)].to_dict("records")
    }
    columns = [Column("task", right=True)]
    columns += [Column(str(name), right=True) for name in names.values()]
    rows = [
        [str(task), *(cells.get((task, name), "n/a") for name in names)]
        for task in tasks
    ]
    return Sheet(title, "mean ± half of its 95% t-interval", columns, rows, [])


def tell(row: Any, scale: float, digits: str) -> str:
    """Return mean ± half the interval of a row with mean, lo and hi.

    >>> tell({"mean": 0.5, "lo": 0.4, "hi": 0.6}, 100, ".2f")
    '50.00 ± 10.00'
    >>> tell({"mean": 0.5, "lo": np.nan, "hi": np.nan}, 1, ".4g")
    '0.5 ± n/a'
    """
    if pd.isna(row["mean"]):
        return "n/a"
    half = scale * (row["hi"] - row["lo"]) / 2
    width = "n/a" if pd.isna(half) else format(half, digits)
    mean = format(scale * row["mean"], digits)
    return f"{'0' + mean[2:] if not float(mean) and mean[0] == '-' else mean} ± {width}"


def over_cells(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each problem and metric of `over_rho`."""
    from analysis.figures.over_rho import told_in
    from analysis.records.runs import show
    from analysis.statistics.metrics import find_metric

    sheets = []
    for (problem, name), part in data.groupby(["problem", "metric"], sort=False):
        scale, unit = told_in(find_metric(str(name)))
        columns = [
            Column("panel"),
            Column("lr", right=True),
            Column("rho", right=True),
            Column("mean", unit, right=True),
            Column("runs", right=True),
            Column("diverged", right=True),
            Column(""),
        ]
        cells = [
            [
                row["panel"],
                show(row["lr"]),
                "–" if pd.isna(row["rho"]) else show(row["rho"]),
                tell(row, scale, ".2f"),
                f"{row['runs']} of {row['expected']}",
                str(row["diverged"]),
                "best" if row["best"] else "",
            ]
            for row in part.to_dict("records")
        ]
        title = f"{problem}: {str(name).replace('_', ' ')}"
        sheets.append(Sheet(title, "", columns, cells, []))
    return sheets


def related_numbers(data: pd.DataFrame) -> list[Sheet]:
    """Return the sheets of a relation."""
    from analysis.comparing.relations import relation_sheets

    return relation_sheets(data)


def task_labels(data: pd.DataFrame) -> list[Sheet]:
    """Return which tasks are pictured."""
    columns = [Column("problem"), Column("seed", right=True), Column("tasks' labels")]
    shown = data.drop_duplicates(["problem", "seed", "task"])
    rows = [
        [str(problem), str(seed), ", ".join(part["task_label"])]
        for (problem, seed), part in shown.groupby(["problem", "seed"], sort=False)
    ]
    return [Sheet("Tasks that are shown", "", columns, rows, [])]
