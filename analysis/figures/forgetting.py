"""The figure of forgetting: accuracy on earlier tasks and accuracy on the new task.

A network forgets if it loses what it learned. A network loses plasticity if it loses
the ability to learn. Source: Koster & Kukla 2024 (arXiv 2409.17300), Figure 1.

Backward transfer is what learning later tasks adds to the accuracy on earlier tasks. If
a[t, i] is the accuracy on task i after task t, backward transfer after task t is the
mean of a[t, i] - a[i, i] over the tested tasks i < t. After the last task, and if all
tasks were tested (--look-back at least the number of tasks less 1), this is the BWT of
Lopez-Paz & Ranzato 2017 (arXiv 1706.08840). Their code
(facebookresearch/GradientEpisodicMemory, commit 1919989, metrics/metrics.py:35) also
counts the last task itself, whose difference is 0. So its mean is closer to 0, by the
factor (T - 1) / T. This module follows the paper.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.curves.data import by_task
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.panel import LINES, Kind
from analysis.figures.curves.sheets import by_task_sheets
from analysis.figures.picture import Picture
from trainables.usage import UsageError

TITLES = {
    "test_accuracy": "accuracy on the new task (%)",
    "last_task_accuracy": "accuracy on the previous task (%)",
    "earlier_accuracy": "mean accuracy on earlier tasks (%)",
    "backward_transfer": "backward transfer to earlier tasks (pp)",
}


def forgetting_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy on the new task, the previous task and earlier tasks.

    The columns are as in `by_task`. The column backward_accuracy of the records
    lists the accuracy (0 to 1) on previous tasks, the latest first. The measure
    last_task_accuracy is the first entry of this list, and earlier_accuracy is the mean
    of the list. backward_transfer is this mean minus the mean accuracy on the same
    tasks when they were new. The first task has none of these three measures.

    Raises:
        UsageError: The network was not tested on earlier tasks, or no setting has a
            complete run.
    """
    backward = frame["backward_accuracy"].dropna()
    if backward.empty:
        raise UsageError(
            "the records have no accuracy on earlier tasks: run the study with "
            "--look-back 5, which also tests the network on the 5 previous tasks"
        )
    frame = frame.assign(
        last_task_accuracy=backward.map(lambda accuracies: accuracies[0]),
        earlier_accuracy=backward.map(np.mean),
        backward_transfer=backward.map(np.mean) - _when_new(frame, backward),
    )
    return by_task(frame, TITLES)


def _when_new(frame: pd.DataFrame, backward: pd.Series[Any]) -> pd.Series[float]:
    """Return the mean accuracy of the tested tasks when they were new, row by row.

    It is NaN if one of these tasks has no record.
    """
    rows = zip(frame["run_id"], frame["task"], frame["test_accuracy"], strict=True)
    new = {(run, task): accuracy for run, task, accuracy in rows}
    looked = frame.loc[backward.index, ["run_id", "task"]]
    looked = looked.assign(count=backward.map(len))
    means = [
        np.mean([new.get((run, task - back), np.nan) for back in range(1, count + 1)])
        for run, task, count in looked.itertuples(index=False)
    ]
    return pd.Series(means, index=backward.index)


FIGURE = Picture(
    title="Forgetting (the paper's Figure 1)",
    meaning="accuracy on the new task and on earlier tasks (as in Figure 1 of Koster & "
    "Kukla 2024)",
    columns=("test_accuracy", "backward_accuracy"),
    data=lambda frame, view, columns: forgetting_by_task(frame),
    draw=functools.partial(draw_by_task, kind=Kind(one_scale=True)),
    numbers=by_task_sheets,
    most=LINES,
    needs_labels=True,
)
