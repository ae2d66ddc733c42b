"""Metrics: one number per run, from its accuracy on every task of its stream.

Each is a pure function of a matrix with a row per run and a column per task, in the
order of the stream. A run with a NaN where the metric looks, and a run for which the
metric is undefined, gives NaN without a warning; no run is dropped. To add a metric:
a function and an entry in `METRICS`.

Where tasks differ in difficulty, a metric can be taken of the accuracy minus that of a
fresh network on the same task (`analysis.comparing.fresh`); `RELATIVE` has a name for
each. What is lost relative to a fresh network is plasticity, whatever the stream does.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
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
    only the two ends of the stream count. Undefined for a single task.

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

    sum over t of (t - mean t)(a[t] - mean a) / sum over t of (t - mean t)^2: every
    task counts. Undefined for a single task.

    >>> accuracy_slope(np.array([[0.9, 0.8, 0.7], [0.5, 0.9, 0.5]])).round(6).tolist()
    [-0.1, 0.0]
    """
    if (tasks := values.shape[1]) < 2:
        return _undefined(values)
    t = np.arange(tasks) - (tasks - 1) / 2
    # Subtracting the first column changes only rounding: a constant gives exactly 0.
    return np.asarray((values - values[:, :1]) @ t / (t @ t))


def mean_accuracy(values: Trajectories) -> PerRun:
    """Return the mean accuracy over the tasks.

    >>> mean_accuracy(np.array([[0.9, 0.8, 0.7]])).round(6).tolist()
    [0.8]
    """
    return np.asarray(values.mean(axis=1))


def first_accuracy(values: Trajectories) -> PerRun:
    """Return the accuracy on the first task, of a fresh network.

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
    """Return how much lower accuracy is on the last tenth of the tasks than the first.

    mean of the first k tasks minus the mean of the last k, k = max(1, T // 10):
    positive if plasticity is lost. It has less noise than `accuracy_change`, which
    looks at one task at each end. Undefined for a single task.

    >>> plasticity_loss(np.linspace(0.9, 0.7, 20)[None]).round(6).tolist()
    [0.189474]
    """
    if (tasks := values.shape[1]) < 2:
        return _undefined(values)
    k = max(1, tasks // 10)
    return np.asarray(values[:, :k].mean(axis=1) - values[:, -k:].mean(axis=1))


def accuracy_area(values: Trajectories) -> PerRun:
    """Return the area under the accuracy by task, the stream being one unit long.

    Trapezoids: sum over t of (a[t] + a[t+1]) / 2, over T - 1. It is the mean accuracy
    with half the weight on the first and the last task: T mean = (T - 1) area +
    (a[0] + a[T-1]) / 2. Undefined for a single task.

    >>> accuracy_area(np.array([[0.8, 1.0, 0.4]])).round(6).tolist()
    [0.8]
    """
    if values.shape[1] < 2:
        return _undefined(values)
    return np.asarray((values[:, :-1] + values[:, 1:]).mean(axis=1) / 2)


@attrs.frozen
class Metric:
    """A metric: a number per run, and how to read it."""

    function: Callable[[Trajectories], PerRun]
    definition: str  # one line; the docstring of the function has the equation
    source: str = "this program"  # who defined it
    higher: bool = True  # whether higher is better
    per_task: bool = False  # whether it is a rate per task
    relative: bool = False  # whether it is of accuracy minus a fresh network's

    @property
    def name(self) -> str:
        """Its name; also that of a column in tables."""
        return f"{'relative_' if self.relative else ''}{self.function.__name__}"

    @property
    def unit(self) -> str:
        """The unit of the number."""
        return "accuracy per task" if self.per_task else "accuracy"

    def __call__(self, values: Trajectories) -> PerRun:
        """Return the metric of each run."""
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
        Metric(mean_accuracy, "mean accuracy over the tasks"),
        Metric(first_accuracy, "accuracy on the first task"),
        Metric(last_accuracy, "accuracy on the last task"),
        Metric(
            plasticity_loss,
            "mean accuracy on the first tenth of the tasks less that on the last tenth",
            higher=False,
        ),
        Metric(
            accuracy_area,
            "area under accuracy by task, the stream being one unit long",
            "the trapezoidal rule",
        ),
    )
}

RELATIVE: dict[str, Metric] = {
    f"relative_{name}": attrs.evolve(
        metric,
        definition=f"{metric.definition}, of accuracy less a fresh network's",
        relative=True,
    )
    for name, metric in METRICS.items()
}
"""The same, of accuracy minus that of a fresh network on the same task and seed."""


def find_metric(name: str) -> Metric:
    """Return a metric of `METRICS` or `RELATIVE`.

    Raises:
        UsageError: The name is unknown.
    """
    known = METRICS | RELATIVE
    return known[choose("metric", name, known)]


def _undefined(values: Trajectories) -> PerRun:
    return np.full(values.shape[0], np.nan)
