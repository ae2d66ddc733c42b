"""Tables of the numbers of a figure by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.curves.panel import scale_of
from analysis.tables.formats import Column, Sheet

LISTED = 11  # the maximum number of tasks in a table of numbers


def by_task_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a table of means and their intervals for each problem and measurement.

    A table has a row per task and a column per setting. It shows at most `LISTED`
    tasks, at equal distances from the first task to the last task. `data` is as
    `by_task` returns it.
    """
    sheets = []
    for (problem, title), part in data.groupby(["problem", "title"], sort=False):
        scale = scale_of(str(title))
        digits = ".2f" if scale == 100 else ".4g"
        cells = [mean_and_half(row, scale, digits) for row in part.to_dict("records")]
        table = part.assign(cell=cells).pivot_table(
            "cell", "task", "setting_id", aggfunc="first"
        )
        labels = part.drop_duplicates("setting_id").set_index("setting_id")["label"]
        table = table[labels.index].fillna("n/a")
        if len(table) > LISTED:
            places = np.linspace(0, len(table) - 1, LISTED).round().astype(int)
            table = table.iloc[places]
        columns = [Column(str(name), right=True) for name in ("task", *labels)]
        rows = [[str(task), *row] for task, *row in table.itertuples()]
        caption = (
            "mean over the seeds ± half of its 95% interval; n/a: not measured, or too "
            "few seeds"
        )
        if (window := part["window"].max()) > 1:
            caption += f"; each number is a moving mean over {window} tasks"
        sheets.append(Sheet(f"{problem}: {title}", caption, columns, rows))
    return sheets


def mean_and_half(row: Mapping[Any, Any], scale: float, digits: str) -> str:
    """Return the mean and half of its interval as text, both multiplied by `scale`.

    The row has the entries mean, lo and hi. `digits` is the format of the numbers.

    >>> mean_and_half({"mean": 0.5, "lo": 0.4, "hi": 0.6}, 100, ".2f")
    '50.00 ± 10.00'
    >>> mean_and_half({"mean": 0.5, "lo": np.nan, "hi": np.nan}, 1, ".4g")
    '0.5 ± n/a'
    """
    if pd.isna(row["mean"]):
        return "n/a"
    half = scale * (row["hi"] - row["lo"]) / 2
    width = "n/a" if pd.isna(half) else format(half, digits)
    mean = format(scale * row["mean"], digits)
    if not float(mean):
        mean = mean.removeprefix("-")
    return f"{mean} ± {width}"
