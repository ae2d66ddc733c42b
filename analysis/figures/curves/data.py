"""Data of the figures by task: a measurement of each setting after each task.

A measurement is a column of the records, for example sharpness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.figures.picture import Columns
from analysis.records.measure import common_measure
from analysis.records.runs import Runs, by_problem, by_setting, matrices
from analysis.statistics.intervals import Interval, Reals, mean_interval
from analysis.statistics.metrics import MEASURES
from trainables.usage import UsageError

KEPT = ("problem", "dataset", "optimizer", "lr", "tasks")
"""The columns of the setting that `by_task` copies into its result."""

SEEDS = 10
"""With fewer seeds than this, a thin line shows each seed."""

LONG = 60
"""A curve over more tasks is smoothed, to reduce the noise of single tasks."""

WINDOW = 0.05
"""The share of the tasks in the moving mean of a smoothed curve."""


def titles_of(names: Sequence[str], columns: Columns) -> dict[str, str]:
    """Return the title of each panel: a column's name in words, and its unit."""
    titles = {}
    for name in names:
        words = name.replace("_", " ")
        if name.startswith("start_"):
            words = f"{words.removeprefix('start ')} before the task"
        unit = "%" if columns[name].unit == "fraction" else columns[name].unit
        titles[name] = f"{words} ({unit})" if unit else words
    return titles


def by_task(
    frame: pd.DataFrame, titles: Mapping[str, str], *, all_settings: bool = False
) -> pd.DataFrame:
    """Return the mean of each measurement after each task, with its 95% t-interval.

    The mean is over the complete runs of a setting. Each interval is valid for its task
    only, not for the whole line. If a run has no measurement at a task, the task has no
    row. A curve over more than `LONG` tasks is smoothed.

    Args:
        frame: Records with the columns of `analysis.records.runs.NEEDED`, and the
            measurements. A complete run finished all tasks, did not diverge, and has a
            value of the first measurement at every task. If the first measurement is
            not in `metrics.MEASURES`, `common_measure` decides in its place.
        titles: The title of each measurement, by its column, with the unit in brackets.
            If the unit is "%" or "pp", figures show the fractions times 100.
        all_settings: Whether a setting without a complete run has one row, with
            runs = 0 and task = 0. If False, it has no row.

    Returns:
        One row per (setting, measure, task), with the columns of `describe_runs`, the
        columns measure and title, and the columns of `curve`.

    Raises:
        UsageError: No setting has a complete run, or the measurements were not made.
    """
    first = next(iter(titles))
    measure = first
    if first not in MEASURES:
        measure = common_measure(map(str, frame["problem"].unique()))
    settings = by_setting(frame, measure)
    settings = [runs for runs in settings if runs.seeds or all_settings]
    parts = []
    for _, group, labels in by_problem(settings):
        measured = matrices(frame, group, list(titles))
        for runs, label, values in zip(group, labels, measured, strict=True):
            row = describe_runs(runs, label)
            for column, matrix in values.items():
                tasks = np.flatnonzero(~np.isnan(matrix).any(axis=0))
                tasks = tasks if runs.seeds else tasks[:1]
                columns = {"measure": column, "title": titles[column]}
                points = curve(matrix, tasks)
                parts.append(pd.DataFrame({**row, **columns, **points}))
    if not parts:
        raise UsageError(
            "no setting has a complete run (all tasks finished, not diverged), so the "
            "figure would be empty: if runs are not finished, run the study again. "
            "Runs that diverged cannot be shown"
        )
    data = pd.concat(parts, ignore_index=True)
    if data.empty:
        raise UsageError(
            f"the figure would be empty, because none of {', '.join(titles)} was "
            "measured: choose another figure (python -m analysis figure --list)"
        )
    return in_stream(data, frame)


def in_stream(data: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return curves in which task 0 is the first task of the stream.

    If the records have only some tasks of the stream (option --tasks), task 0 of `data`
    is the first of these tasks.
    """
    return data.assign(task=data["task"] + frame.attrs.get("first_task", 0))


def describe_runs(runs: Runs, label: str) -> dict[str, Any]:
    """Return the columns of `by_task` that describe a setting."""
    return {
        "study": runs.study,
        "setting_id": runs.setting_id,
        **{name: runs.setting[name] for name in KEPT},
        "label": label,
        "runs": len(runs.seeds),
        "expected": runs.expected,
        "diverged": len(runs.diverged),
    }


def curve(
    matrix: Reals,
    tasks: npt.NDArray[np.integer],
    interval: Callable[[Reals], Interval] = mean_interval,
    window: int | None = None,
) -> dict[str, Any]:
    """Return the columns of `by_task` that describe a curve over some tasks.

    Args:
        matrix: A measurement of each run after each task, shape (runs, all tasks).
        tasks: The tasks that were measured.
        interval: A function that returns the mean and its interval at each task.
        window: The number of measured tasks in the moving mean of each run; 1 for no
            moving mean, None for the number from `window_of`.

    Returns:
        The columns task, mean, lo, hi, window and seed_values. lo and hi are the ends
        of the interval; they are NaN if there are fewer than two runs. If there are at
        least two runs, but fewer than `SEEDS`, seed_values has the value of each run,
        in the order of the seeds. Otherwise it is empty.
    """
    window = window_of(len(tasks)) if window is None else window
    values = smooth(matrix[:, tasks], window)
    few = 1 < len(values) < SEEDS
    return {
        "task": tasks,
        **interval(values)._asdict(),
        "window": window,
        "seed_values": [tuple(column) if few else () for column in values.T.tolist()],
    }


def window_of(tasks: int) -> int:
    """Return the number of tasks in the moving mean: odd, or 1 for a short stream.

    >>> window_of(60), window_of(100), window_of(800)
    (1, 5, 41)
    """
    return 1 if tasks <= LONG else 2 * int(WINDOW * tasks / 2) + 1


def smooth(values: Reals, window: int) -> Reals:
    """Return the centered moving mean of each row, over fewer tasks at the two ends.

    >>> smooth(np.array([[0.0, 3.0, 6.0, 0.0]]), 3).tolist()
    [[1.5, 3.0, 3.0, 3.0]]
    """
    if window == 1:
        return values
    rolling = pd.DataFrame(values.T).rolling(window, center=True, min_periods=1)
    return np.asarray(rolling.mean().to_numpy().T)
