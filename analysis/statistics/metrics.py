"""Metrics: one number per run, from a measure of the run after every task.

Each metric is a pure function of a matrix that has a row per run and a column per task,
in the order of the stream. If a run has a NaN among the values that a metric uses, or
the metric is undefined, the result is NaN without a warning. To add a metric, write a
function and add an entry to `METRICS`.

A metric is either a level (how well the network learns) or a trend (how the level
changes along the stream). Plasticity needs both: see `analysis.comparing.verdicts`.

The measure can be any of `MEASURES`. If the name of a metric starts with "relative_",
the measure of a fresh network on the same task is subtracted first
(`analysis.comparing.fresh`). If the tasks of a stream differ in difficulty, only
relative metrics distinguish a loss of plasticity from harder tasks.
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


def late_accuracy(values: Trajectories) -> PerRun:
    """Return the mean accuracy over the last tenth of the tasks (at least one task).

    The level at the end of training does not tell whether the network learned better
    before: see `plasticity_loss` and `peak_loss`.

    >>> late_accuracy(np.linspace(0.9, 0.7, 20)[None]).round(6).tolist()
    [0.705263]
    """
    return np.asarray(values[:, -_tenth(values) :].mean(axis=1))


def accuracy_change(values: Trajectories) -> PerRun:
    """Return the mean change of accuracy from one task to the next.

    mean over t of a[t+1] - a[t] = (a[T-1] - a[0]) / (T - 1): only the two ends of the
    stream count. Undefined for a single task.

    >>> accuracy_change(np.array([[0.9, 0.2, 0.7], [0.5, 0.5, 0.5]])).round(6).tolist()
    [-0.1, 0.0]
    >>> accuracy_change(np.array([[0.9]])).tolist()
    [nan]
    """
    if values.shape[1] < 2:
        return _undefined(values)
    return np.asarray((values[:, -1] - values[:, 0]) / (values.shape[1] - 1))


def accuracy_slope(values: Trajectories) -> PerRun:
    """Return the least-squares slope of accuracy by task.

    sum over t of (t - mean t)(a[t] - mean a) / sum over t of (t - mean t)^2. Every task
    counts. Undefined for a single task. A straight line does not show a rise with a
    fall after it: see `peak_loss`.

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
    """Return the accuracy on the first of the tasks.

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
    """Return how far accuracy falls from the first to the last tenth of the tasks.

    The mean of the first k tasks minus the mean of the last k, k = max(1, T // 10):
    positive if plasticity is lost. It has less noise than `accuracy_change`, which uses
    only one task at each end. It does not show a rise before the fall, and is 0 for a
    network that never learns. Undefined for a single task.

    >>> plasticity_loss(np.linspace(0.9, 0.7, 20)[None]).round(6).tolist()
    [0.189474]
    """
    if values.shape[1] < 2:
        return _undefined(values)
    k = _tenth(values)
    return np.asarray(values[:, :k].mean(axis=1) - values[:, -k:].mean(axis=1))


def peak_loss(values: Trajectories) -> PerRun:
    """Return the peak of the accuracy minus its mean on the last tenth of the tasks.

    The peak is the largest mean over k consecutive tasks, k = max(1, T // 10). If the
    accuracy of a network rises and then falls, its peak loss is positive, but its
    `plasticity_loss` can be 0. Noise alone makes the peak loss positive, so compare it
    with the peak loss of a baseline. Undefined for a single task.

    >>> peak_loss(np.array([[0.8, 0.9, 0.7], [0.5, 0.5, 0.5]])).round(6).tolist()
    [0.2, 0.0]
    """
    if values.shape[1] < 2:
        return _undefined(values)
    means = tenths(values)
    return np.asarray(means.max(axis=1) - means[:, -1])


def tenths(values: Trajectories) -> Trajectories:
    """Return the mean over each window of k = max(1, T // 10) consecutive tasks.

    The shape is (runs, T - k + 1).
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, _tenth(values), axis=1)
    return np.asarray(windows.mean(axis=2))


def accuracy_area(values: Trajectories) -> PerRun:
    """Return the area under the accuracy by task, if the stream is one unit long.

    The trapezoidal rule: the sum over t of (a[t] + a[t+1]) / 2, divided by T - 1. It is
    the mean accuracy with half the weight on the first and the last task. Undefined for
    a single task.

    >>> accuracy_area(np.array([[0.8, 1.0, 0.4]])).round(6).tolist()
    [0.8]
    """
    if values.shape[1] < 2:
        return _undefined(values)
    return np.asarray((values[:, :-1] + values[:, 1:]).mean(axis=1) / 2)


@attrs.frozen
class Measure:
    """A column of the records from which metrics can be computed."""

    words: str  # its name in text
    higher: bool  # whether a higher value is better
    scale: float  # the factor for its values in text
    unit: str  # the unit of a level in text
    unit_of_difference: str
    margin: float = 0.005  # smaller differences count as zero by default


MEASURES: dict[str, Measure] = {
    "test_accuracy": Measure("accuracy", True, 100, "%", "pp"),
    "online_accuracy": Measure("online accuracy", True, 100, "%", "pp"),
    "train_loss": Measure("train loss", False, 1, "nats", "nats"),
    "mean_return": Measure("return", True, 1, "return", "return", margin=5.0),
    "last_return": Measure("last return", True, 1, "return", "return", margin=5.0),
    "return_gap": Measure("return gap", True, 1, "return", "return", margin=1.0),
    "value_error": Measure("value error", False, 1, "ratio", "ratio", margin=0.02),
}
"""The measures, by column."""

MEASURE = "test_accuracy"
"""The measure of a metric if no other measure is named."""


@attrs.frozen
class Metric:
    """A function that returns a number per run, and how to read the number."""

    function: Callable[[Trajectories], PerRun]
    definition: str  # one line; the docstring of the function has the equation
    source: str = "this program"  # who defined it
    higher: bool = True  # whether a higher value is better
    trend: bool = False  # whether it is a trend; otherwise it is a level
    per_task: bool = False  # whether it is a rate per task
    relative: bool = False  # whether a fresh network's measure is subtracted first
    measure: str = MEASURE  # a key of MEASURES

    @property
    def name(self) -> str:
        """The name on the command line and in the columns of tables."""
        return f"{'relative_' if self.relative else ''}{self.function.__name__}"

    @property
    def words(self) -> str:
        """The name of the metric in text, with its measure."""
        words, measure = self.name.replace("_", " "), MEASURES[self.measure].words
        if self.measure == MEASURE:
            return words
        if "accuracy" in words:
            return words.replace("accuracy", measure)
        return f"{words} of {measure}"

    @property
    def level(self) -> Metric:
        """The late level of the same measure, which is shown beside this metric."""
        name = f"relative_{DEFAULT}" if self.relative else DEFAULT
        return find_metric(name, self.measure)

    @property
    def absolute(self) -> Metric:
        """The same metric without a fresh network subtracted."""
        return find_metric(self.function.__name__, self.measure)

    def of(self, measure: str) -> Metric:
        """Return the same metric of another measure. A lower loss is better."""
        old, new = MEASURES[self.measure], MEASURES[measure]
        return attrs.evolve(
            self,
            measure=measure,
            higher=self.higher != (old.higher != new.higher),
            definition=self.definition.replace(old.words, new.words),
        )

    def steps(self, tasks: int) -> int:
        """Return the factor that turns a rate per task into a change over the stream.

        For other metrics, the factor is 1.
        """
        return max(1, tasks - 1) if self.per_task else 1

    def beside(self, values: Trajectories) -> PerRun:
        """Return the late level if this is a trend, else the trend over the stream."""
        if self.trend:
            return self.level(values)
        return np.asarray((values.shape[1] - 1) * accuracy_slope(values))

    def __call__(self, values: Trajectories) -> PerRun:
        """Return the metric of each run."""
        return self.function(values)


DEFAULT = "late_accuracy"
"""The metric that comparisons use by default, and that chooses the best settings."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(late_accuracy, "mean accuracy over the last tenth of the tasks"),
        Metric(
            accuracy_change,
            "mean change of accuracy from one task to the next, as in the paper",
            "Koster & Kukla 2024 (arXiv 2409.17300), Tables 1 and 2",
            trend=True,
            per_task=True,
        ),
        Metric(
            accuracy_slope,
            "least-squares slope of accuracy by task",
            "ordinary least squares",
            trend=True,
            per_task=True,
        ),
        Metric(mean_accuracy, "mean accuracy over the tasks"),
        Metric(first_accuracy, "accuracy on the first task"),
        Metric(last_accuracy, "accuracy on the last task"),
        Metric(
            plasticity_loss,
            "mean accuracy on the first tenth of the tasks minus mean accuracy on the "
            "last tenth",
            higher=False,
            trend=True,
        ),
        Metric(
            peak_loss,
            "largest mean accuracy over a tenth of the tasks minus mean accuracy on "
            "the last tenth; noise alone makes it positive",
            higher=False,
            trend=True,
        ),
        Metric(
            accuracy_area,
            "area under accuracy by task, if the stream is one unit long",
            "the trapezoidal rule",
        ),
    )
}

RELATIVE: dict[str, Metric] = {
    f"relative_{name}": attrs.evolve(
        metric,
        definition=f"{metric.definition}, after the accuracy of a fresh network is "
        "subtracted",
        relative=True,
    )
    for name, metric in METRICS.items()
}
"""The metrics of accuracy minus the accuracy of a fresh network on the same tasks."""


def find_metric(name: str, measure: str = MEASURE) -> Metric:
    """Return the metric with this name, which is computed from this measure.

    Raises:
        UsageError: The name or the measure is unknown.
    """
    known = METRICS | RELATIVE
    metric = known[choose("metric", name, known)]
    return metric.of(choose("measure", measure, MEASURES))


def _tenth(values: Trajectories) -> int:
    return max(1, int(values.shape[1]) // 10)


def _undefined(values: Trajectories) -> PerRun:
    return np.full(values.shape[0], np.nan)
