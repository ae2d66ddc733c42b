"""The figure of forgetting: accuracy on earlier tasks and accuracy on the new task.

A network forgets if it loses what it learned. A network loses plasticity if it loses
the ability to learn. Source: Koster & Kukla 2024 (arXiv 2409.17300), Figure 1.
"""

import numpy as np
import pandas as pd

from analysis.figures.curves.data import by_task
from analysis.figures.curves.figure import draw_by_task
from analysis.figures.curves.sheets import by_task_sheets
from analysis.figures.picture import Picture
from trainables.usage import UsageError

TITLES = {
    "test_accuracy": "accuracy on the new task (%)",
    "last_task_accuracy": "accuracy on the previous task (%)",
    "earlier_accuracy": "mean accuracy on earlier tasks (%)",
}


def forgetting_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy on the new task, the previous task and earlier tasks.

    The columns are those of `by_task`. The column backward_accuracy of the records
    lists the accuracy (0 to 1) on previous tasks, the latest first. The measure
    last_task_accuracy is its first entry. The measure earlier_accuracy is its mean.
    The first task has no previous task, so it has neither of these two measures.

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
    )
    return by_task(frame, TITLES)


FIGURE = Picture(
    title="Forgetting (the paper's Figure 1)",
    meaning="accuracy on the new task and on earlier tasks (as in Figure 1 of Koster & "
    "Kukla 2024)",
    columns=("test_accuracy", "backward_accuracy"),
    data=lambda frame, view, columns: forgetting_by_task(frame),
    draw=draw_by_task,
    numbers=by_task_sheets,
    line_per_setting=True,
)
