"""Metrics: a number per run, from the run's accuracy on every task of its stream.

Each is a pure function of a matrix whose rows are runs and whose columns are tasks in
the order they were met, and gives one number per row. A run with a NaN anywhere that
the metric looks gives NaN, and so does every run where the metric is undefined: no
warning is raised, and no run is dropped here. To add one: a function and a line in
`METRICS`.

Where tasks differ in difficulty, a metric can be taken of the accuracy less that of a
fresh network on the same task (`fresh`): each has a name for that too, in
`RELATIVE`. What is lost against a fresh network is lost plasticity, and not the stream
becoming harder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trainables.usage import choose

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


def accuracy_area(values: Trajectories) -> PerRun:
    """Return the area under the accuracy by task, the stream being one unit long.

    Trapezoids: sum over t of (a[t] + a[t+1]) / 2, over T - 1. It is the mean accuracy
    but for the first and the last task, which count half: T mean = (T - 1) area +
    (a[0] + a[T-1]) / 2. So on a long stream the two tell the same. Unit: accuracy.
    Undefined for a single task.

    Source: the trapezoidal rule.

    >>> accuracy_area(np.array([[0.8, 1.0, 0.4]])).round(6).tolist()
    [0.8]
    """
    tasks = values.shape[1]
    if tasks < 2:
        return _undefined(values)
    return np.asarray((values[:, :-1] + values[:, 1:]).mean(axis=1) / 2)


@dataclass(frozen=True)
class Metric:
    """A metric: its function, and how to read the number that it gives."""

    of: Callable[[Trajectories], PerRun]
    higher: bool
    """Whether more of it is better."""
    unit: str
    definition: str
    """In one line; the function's docstring has the equation."""
    per_task: bool = False
    relative: bool = False
    """Whether the matrix is of accuracy less a fresh network's."""

    def __call__(self, values: Trajectories) -> PerRun:
        """Return the metric of each run."""
        return self.of(values)


METRICS: dict[str, Metric] = {
    "accuracy_change": Metric(
        accuracy_change,
        True,
        "accuracy per task",
        "mean change of accuracy from one task to the next, as in the paper",
        per_task=True,
    ),
    "accuracy_slope": Metric(
        accuracy_slope,
        True,
        "accuracy per task",
        "least-squares slope of accuracy by task",
        per_task=True,
    ),
    "mean_accuracy": Metric(
        mean_accuracy, True, "accuracy", "mean accuracy over the tasks"
    ),
    "first_accuracy": Metric(
        first_accuracy, True, "accuracy", "accuracy on the first task"
    ),
    "last_accuracy": Metric(
        last_accuracy, True, "accuracy", "accuracy on the last task"
    ),
    "plasticity_loss": Metric(
        plasticity_loss,
        False,
        "accuracy",
        "mean accuracy on the first tenth of the tasks less that on the last tenth",
    ),
    "accuracy_area": Metric(
        accuracy_area,
        True,
        "accuracy",
        "area under accuracy by task, the stream being one unit long",
    ),
}

RELATIVE: dict[str, Metric] = {
    f"relative_{name}": replace(
        metric,
        definition=f"{metric.definition}, of accuracy less a fresh network's",
        relative=True,
    )
    for name, metric in METRICS.items()
}
"""The same, of accuracy less that of a fresh network on the same task and seed."""


def find_metric(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        UsageError: There is none of this name.
    """
    known = METRICS | RELATIVE
    return known[choose("metric", name, known)]


def _undefined(values: Trajectories) -> PerRun:
    """Return NaN for every run."""
    return np.full(values.shape[0], np.nan)
