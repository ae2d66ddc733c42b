"""Metrics: one number per run, computed from its accuracy on every task.

Each metric is a pure function of a matrix with one row per run and one column per task,
in the order of the stream. The result is NaN, without a warning, if the metric is
undefined or uses a value that is NaN. No run is dropped. To add a metric, write a
function and add an entry to `METRICS`.

If tasks differ in difficulty, use a relative metric (`RELATIVE`). For a relative
metric, `analysis.comparing.fresh` first subtracts the accuracy of a fresh network: one
that is reset at every task. A loss relative to a fresh network is a loss of plasticity,
even if the tasks become harder.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt

from trainables.usage import choose

Trajectories = npt.NDArray[np.float64]
"""A measurement of each run after each task, shape (runs, tasks)."""

PerRun = npt.NDArray[np.float64]
"""One number per run, shape (runs,)."""


def accuracy_change(values: Trajectories) -> PerRun:
    """Return the mean change of accuracy from one task to the next.

    The mean over t of a[t+1] - a[t] equals (a[T-1] - a[0]) / (T - 1), where a[t] is the
    accuracy on task t of T tasks. So only the first and the last task count. The result
    is NaN if there is only one task.

    >>> accuracy_change(np.array([[0.9, 0.2, 0.7], [0.5, 0.5, 0.5]])).round(6).tolist()
    [-0.1, 0.0]
    >>> accuracy_change(np.array([[0.9]])).tolist()
    [nan]
    """
    if (tasks := values.shape[1]) < 2:
        return _undefined(values)
    return np.asarray((values[:, -1] - values[:, 0]) / (tasks - 1))


def accuracy_slope(values: Trajectories) -> PerRun:
    """Return the least-squares slope of accuracy by task.

    With the accuracy a[t] on task t, the slope is the sum over t of
    (t - mean t)(a[t] - mean a), divided by the sum over t of (t - mean t)^2. Every task
    counts. The result is NaN if there is only one task.

    >>> accuracy_slope(np.array([[0.9, 0.8, 0.7], [0.5, 0.9, 0.5]])).round(6).tolist()
    [-0.1, 0.0]
    """
    if (tasks := values.shape[1]) < 2:
        return _undefined(values)
    t = np.arange(tasks) - (tasks - 1) / 2
    # Subtract the first column, so that constant accuracy has a slope of exactly 0. The
    # slope changes only by rounding.
    return np.asarray((values - values[:, :1]) @ t / (t @ t))


def mean_accuracy(values: Trajectories) -> PerRun:
    """Return the mean accuracy over all tasks.

    >>> mean_accuracy(np.array([[0.9, 0.8, 0.7]])).round(6).tolist()
    [0.8]
    """
    return np.asarray(values.mean(axis=1))


def first_accuracy(values: Trajectories) -> PerRun:
    """Return the accuracy on the first task.

    >>> first_accuracy(np.array([[0.9, 0.8, 0.7]])).tolist()
    [0.9]
    """
    return values[:, 0].copy()


def last_accuracy(values: Trajectories) -> PerRun:
    """Return the accuracy on the last task.

    >>> last_accuracy(np.array([[0.9, 0.8, 0.7]])).tolist()
    [0.7]
    """
    return values[:, -1].copy()


def plasticity_loss(values: Trajectories) -> PerRun:
    """Return the fall of accuracy from the first to the last tenth of the tasks.

    The result is the mean over the first k of T tasks minus the mean over the last k,
    with k = max(1, T // 10). It is positive if plasticity is lost. It has less noise
    than `accuracy_change`, which uses one task at each end. The result is NaN if there
    is only one task.

    >>> plasticity_loss(np.linspace(0.9, 0.7, 20)[None]).round(6).tolist()
    [0.189474]
    """
    if (tasks := values.shape[1]) < 2:
        return _undefined(values)
    k = max(1, tasks // 10)
    return np.asarray(values[:, :k].mean(axis=1) - values[:, -k:].mean(axis=1))


def accuracy_area(values: Trajectories) -> PerRun:
    """Return the area under the curve of accuracy by task, scaled to a length of 1.

    The area is the sum over t of the trapezoids (a[t] + a[t+1]) / 2, divided by T - 1,
    where a[t] is the accuracy on task t of T tasks. It equals a mean accuracy in which
    the first and the last task have half the weight of the others. The result is NaN if
    there is only one task.

    >>> accuracy_area(np.array([[0.8, 1.0, 0.4]])).round(6).tolist()
    [0.8]
    """
    if values.shape[1] < 2:
        return _undefined(values)
    return np.asarray((values[:, :-1] + values[:, 1:]).mean(axis=1) / 2)


@attrs.frozen
class Metric:
    """A metric: the function that computes one number per run, and how to read it."""

    function: Callable[[Trajectories], PerRun]
    definition: str  # one line; the equation is in the docstring of `function`
    source: str = "this program"  # the publication or method that defines the metric
    higher: bool = True  # True if higher values are better
    per_task: bool = False  # True if the number is a change per task
    relative: bool = False  # True if a fresh network's accuracy is subtracted

    @property
    def name(self) -> str:
        """The name of the metric, and of its column in tables."""
        return f"{'relative_' if self.relative else ''}{self.function.__name__}"

    @property
    def unit(self) -> str:
        """The unit of the metric: accuracy is a fraction from 0 to 1."""
        return "accuracy per task" if self.per_task else "accuracy"

    def __call__(self, values: Trajectories) -> PerRun:
        """Return the value of the metric for each run."""
        return self.function(values)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            accuracy_change,
            "mean change of accuracy from one task to the next, as in the paper",
            "Koster & Kukla 2024 (arXiv 2409.17300), Tables 1 and 2",
            per_task=True,
        ),
        Metric(
            accuracy_slope,
            "least-squares slope of accuracy by task",
            "ordinary least squares",
            per_task=True,
        ),
        Metric(mean_accuracy, "mean accuracy over all tasks"),
        Metric(first_accuracy, "accuracy on the first task"),
        Metric(last_accuracy, "accuracy on the last task"),
        Metric(
            plasticity_loss,
            "mean accuracy on the first tenth of the tasks minus mean accuracy on the "
            "last tenth",
            higher=False,
        ),
        Metric(
            accuracy_area,
            "area under the curve of accuracy by task, scaled to a length of 1",
            "the trapezoidal rule",
        ),
    )
}

RELATIVE: dict[str, Metric] = {
    f"relative_{name}": attrs.evolve(
        metric,
        definition=f"{metric.definition}, after subtracting a fresh network's accuracy",
        relative=True,
    )
    for name, metric in METRICS.items()
}
"""The metrics of `METRICS`, computed after subtracting the accuracy of a fresh network.

A fresh network is reset at every task. It has the same task and seed.
"""


def find_metric(name: str) -> Metric:
    """Return the metric with this name, from `METRICS` or `RELATIVE`.

    Raises:
        UsageError: There is no metric with this name.
    """
    known = METRICS | RELATIVE
    return known[choose("metric", name, known)]


def _undefined(values: Trajectories) -> PerRun:
    return np.full(values.shape[0], np.nan)
