"""The figure of test accuracy, or of another measure, by task.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Figures 4 and 5. The seeds and the band
of the 95% interval are an addition of this study.
"""

from __future__ import annotations

import pandas as pd

from analysis.figures.curves.data import by_task
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.panel import LINES
from analysis.figures.curves.sheets import by_task_sheets
from analysis.figures.picture import Picture
from analysis.statistics.metrics import MEASURE, MEASURES


def accuracy_by_task(frame: pd.DataFrame, measure: str = MEASURE) -> pd.DataFrame:
    """Return the mean of a measure of each setting after each task.

    The columns are as in `by_task`. A setting without a complete run has one row, with
    runs = 0. `measure` is a key of `MEASURES`.
    """
    title = f"{measure.replace('_', ' ')} ({MEASURES[measure].unit})"
    return by_task(frame, {measure: title}, all_settings=True)


FIGURE = Picture(
    title="Accuracy by task (the paper's Figures 4 and 5)",
    meaning="test accuracy by task: a panel per problem, a line per setting (as in "
    "Figures 4 and 5 of Koster & Kukla 2024)",
    columns=(MEASURE,),
    data=lambda frame, view, columns: accuracy_by_task(frame, view.measure),
    draw=draw_by_task,
    numbers=by_task_sheets,
    most=LINES,
    any_measure=True,
)
