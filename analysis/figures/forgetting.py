"""The figure of forgetting: accuracy on earlier tasks, beside that on the new one.

Forgetting is to lose what was learned; loss of plasticity is to lose the ability to
learn. Source: Koster & Kukla 2024 (arXiv 2409.17300), Figure 1.
"""

import numpy as np
import pandas as pd

from analysis.figures.by_task import by_task, by_task_sheets, draw_by_task
from analysis.figures.picture import Picture
from trainables.usage import UsageError

TITLES = {
    "test_accuracy": "on the task just learned (%)",
    "last_task_accuracy": "on the task before it (%)",
    "earlier_accuracy": "on all earlier tasks tested (%)",
}


def forgetting_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `by_task` of the accuracy on the new task and on earlier ones.

    From the second task on, last_task_accuracy is the first entry of backward_accuracy
    and earlier_accuracy the mean of all; fractions.

    Raises:
        UsageError: Earlier tasks were not tested, or no setting has a complete run.
    """
    backward = frame["backward_accuracy"].dropna()
    if backward.empty:
        raise UsageError(
            "the records have no accuracy on earlier tasks: run the study with "
            "--look-back 5"
        )
    frame = frame.assign(
        last_task_accuracy=backward.map(lambda accuracies: accuracies[0]),
        earlier_accuracy=backward.map(np.mean),
    )
    return by_task(frame, TITLES)


FIGURE = Picture(
    title="Forgetting (Figure 1)",
    meaning="accuracy on the task just learned and on those before it (Figure 1)",
    columns=("test_accuracy", "backward_accuracy"),
    data=lambda frame, metrics, columns: forgetting_by_task(frame),
    draw=draw_by_task,
    numbers=by_task_sheets,
    line_per_setting=True,
)
