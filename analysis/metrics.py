"""Metrics: a number per run, from the run's accuracy on every task of its stream.

Each is a pure function of a matrix whose rows are runs and whose columns are tasks in
the order they were met, and gives one number per row. A run with a NaN anywhere that
the metric looks gives NaN, and so does every run where the metric is undefined: no
warning is raised, and no run is dropped here. To add one: a function and a line in
`METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Trajectories = npt.NDArray[np.float64]
"""Shape (runs, tasks): a measurement of each run after each task."""

PerRun = npt.NDArray[np.float64]
"""Shape (runs,): one number per run."""


def accuracy_change(values: Trajectories) -> PerRun:
    """Return the mean change of accuracy from one task to the next.

    mean over t of a[t+1] - a[t] = (a[T-1] - a[0]) / (T - 1): the sum telescopes, so
    that only the two ends of the stream count. Unit: accuracy per task. Undefined for
    a single task.

    Source: Koster & Kukla 2024 (arXiv 2409.17300), Tables 1 and 2.

    >>> accuracy_change(np.array([[0.9, 0.2, 0.7], [0.5, 0.5, 0.5]])).round(6).tolist()
    [-0.1, 0.0]
    >>> accuracy_change(np.array([[0.9]])).tolist()
    [nan]
    """
    tasks = values.shape[1]
    if tasks < 2:
        return _undefined(values)
    return np.asarray((values[:, -1] - values[:, 0]) / (tasks - 1))


def accuracy_slope(values: Trajectories) -> PerRun:
    """Return the least-squares slope of accuracy by task.

    sum over t of (t - mean t)(a[t] - mean a) / sum over t of (t - mean t)^2: every
    task counts. Unit: accuracy per task. Undefined for a single task.

    Source: ordinary least squares.

    >>> accuracy_slope(np.array([[0.9, 0.8, 0.7], [0.5, 0.9, 0.5]])).round(6).tolist()
    [-0.1, 0.0]
    """
    tasks = values.shape[1]
    if tasks < 2:
        return _undefined(values)
    t = np.arange(tasks) - (tasks - 1) / 2
    # Taking off the first column changes nothing but rounding: a constant gives 0.
    return np.asarray((values - values[:, :1]) @ t / (t @ t))


def mean_accuracy(values: Trajectories) -> PerRun:
    """Return the mean accuracy over the tasks. Unit: accuracy.

    >>> mean_accuracy(np.array([[0.9, 0.8, 0.7]])).round(6).tolist()
    [0.8]
    """
    return np.asarray(values.mean(axis=1))


def first_accuracy(values: Trajectories) -> PerRun:
    """Return the accuracy on the first task, of a fresh network. Unit: accuracy.

    >>> first_accuracy(np.array([[0.9, 0.8, 0.7]])).tolist()
    [0.9]
    """
    return values[:, 0].copy()


def last_accuracy(values: Trajectories) -> PerRun:
    """Return the accuracy on the last task. Unit: accuracy.

    >>> last_accuracy(np.array([[0.9, 0.8, 0.7]])).tolist()
    [0.7]
    """
    return values[:, -1].copy()


def plasticity_loss(values: Trajectories) -> PerRun:
    """Return how much worse the last tenth of the tasks went than the first tenth.

    mean of the first k tasks less the mean of the last k, k = max(1, T // 10). Unit:
    accuracy; positive is plasticity lost. Undefined for a single task.

    Source: ours; a wider end than that of `accuracy_change`, hence less noise.

    >>> plasticity_loss(np.linspace(0.9, 0.7, 20)[None]).round(6).tolist()
    [0.189474]
    """
    tasks = values.shape[1]
    if tasks < 2:
        return _undefined(values)
    k = max(1, tasks // 10)
    return np.asarray(values[:, :k].mean(axis=1) - values[:, -k:].mean(axis=1))


METRICS: dict[str, Callable[[Trajectories], PerRun]] = {
    "accuracy_change": accuracy_change,
    "accuracy_slope": accuracy_slope,
    "mean_accuracy": mean_accuracy,
    "first_accuracy": first_accuracy,
    "last_accuracy": last_accuracy,
    "plasticity_loss": plasticity_loss,
}


def _undefined(values: Trajectories) -> PerRun:
    """Return NaN for every run."""
    return np.full(values.shape[0], np.nan)
