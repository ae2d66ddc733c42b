"""How figures name a stream of tasks, a line and a moving mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from analysis.figures.picture import escape_text


def describe_stream(data: pd.DataFrame) -> str:
    """Return the heading of one problem, as in "permuted (mnist, 100 tasks)"."""
    sets = ", ".join(sorted(set(data["dataset"])))
    lengths = " or ".join(map(str, sorted(set(data["tasks"]))))
    plural = "" if lengths == "1" else "s"
    problem = data["problem"].iloc[0]
    return escape_text(f"{problem} ({sets}, {lengths} task{plural})")


def name_line(setting: Mapping[Any, Any]) -> str:
    """Return the label of a line, with the number of complete runs if some are not."""
    name = escape_text(setting["label"])
    if setting["runs"] < setting["expected"]:
        name += f" ({setting['runs']} of {setting['expected']})"
    return name


def moving_mean(windows: Collection[int]) -> str:
    """Return the part of a title that names the window of the moving mean.

    It is empty if the windows differ, or if the mean is over one task.
    """
    (window, *others) = windows
    return "" if others or window == 1 else f", moving mean over {window} tasks"
