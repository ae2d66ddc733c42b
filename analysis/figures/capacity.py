"""The figure of capacity by task: what the field counts to see a network wear out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures.sharpness import draw_measures, measures_by_task

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CAPACITY = {
    "dormant_fraction": "dormant units (%)",
    "dormant_fraction_tau": "dormant by ReDo's score (%)",
    "effective_rank": "effective rank",
    "stable_rank": "stable rank",
    "srank": "srank",
    "gradient_norm": "gradient norm",
    "weight_norm": "weight norm",
    "initial_distance": "distance from the start",
    "update_norm": "way gone in the task",
}
"""The panels of a problem: columns of the records, and what they are called."""


def capacity_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `measures_by_task` of `CAPACITY`.

    Raises:
        UsageError: No setting has a whole run.
    """
    return measures_by_task(frame, CAPACITY)


def draw_capacity(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `capacity_by_task`: a panel a measure that was made.

    Raises:
        UsageError: A panel would have more lines than can be told apart.
    """
    return draw_measures(data, width, CAPACITY)
