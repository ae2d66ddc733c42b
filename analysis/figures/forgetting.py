"""The figure of forgetting: what becomes of the tasks before, beside the new one.

A network can lose what it knew (forgetting) and the power to learn anew (plasticity),
and the one is not the other: Figure 1 of Koster & Kukla 2024 (arXiv 2409.17300).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.sharpness import draw_measures, measures_by_task
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORGETTING = {
    "test_accuracy": "on the task just learned (%)",
    "last_task_accuracy": "on the one before it (%)",
    "earlier_accuracy": "on all that are looked back at (%)",
}
"""The panels of a problem: what is measured after each task, and what it is called."""


def forgetting_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `measures_by_task` of `FORGETTING`.

    last_task_accuracy is the first of backward_accuracy, earlier_accuracy the mean of
    all; both in [0, 1], and from the second task on.

    Args:
        frame: Records with `runs.NEEDED`, test_accuracy, backward_accuracy.

    Raises:
        UsageError: No accuracy on earlier tasks was measured, or no run is whole.
    """
    looked = frame["backward_accuracy"]
    if looked.isna().all():
        raise UsageError(
            "the records have no accuracy on earlier tasks: run the study with "
            "--look-back 5"
        )
    known = looked[looked.notna()]
    derived = {
        "last_task_accuracy": [accuracies[0] for accuracies in known],
        "earlier_accuracy": [np.mean(accuracies) for accuracies in known],
    }
    frame = frame.copy()
    for name, values in derived.items():
        frame[name] = np.nan
        frame.loc[known.index, name] = values
    return measures_by_task(frame, FORGETTING)


def draw_forgetting(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `forgetting_by_task`, a panel a measure.

    Raises:
        UsageError: A panel would have more lines than can be told apart.
    """
    return draw_measures(data, width, FORGETTING)
