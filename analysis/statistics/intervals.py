"""Compute the 95% interval of a mean over runs.

Different runs are independent, but the tasks of one run are not. So each run first
gives one number, and the interval is over these numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A mean and the two ends of its 95% interval; NaN if there are too few runs."""

    mean: Reals
    lo: Reals
    hi: Reals

    def columns(self, name: str) -> dict[str, float]:
        """Return the mean and both ends as table columns: NAME, NAME_lo and NAME_hi."""
        ends = zip(("", "_lo", "_hi"), self, strict=True)
        return {name + end: float(value) for end, value in ends}


def mean_interval(values: Reals) -> Interval:
    """Return the mean over the runs and its 95% t-interval, in the unit of `values`.

    The interval is mean ± t(0.975; n - 1) s / sqrt(n), where s is the standard
    deviation of the n runs (divisor n - 1). Source: Student 1908. If all runs are
    equal, the interval has width zero. With one run, the interval is NaN. With no runs,
    the mean is NaN too. `values` has shape (runs, ...), and each position along the
    axes after the first has its own interval.

    >>> mean, lo, hi = mean_interval(np.array([4.0, 5.0, 6.0]))
    >>> float(mean), round(float(lo), 3), round(float(hi), 3)
    (5.0, 2.516, 7.484)
    >>> mean_interval(np.array([4.0])).lo
    array(nan)
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    mean = lo = hi = np.full(values.shape[1:], np.nan)
    if n:
        mean = np.asarray(values[0] + (values - values[0]).mean(axis=0))
    if n > 1:
        error = standard_deviation(values) / np.sqrt(n)
        half = t_quantile(n) * error
        lo, hi = np.asarray(mean - half), np.asarray(mean + half)
    return Interval(mean, lo, hi)


def t_quantile(n: int, probability: float = 0.975) -> float:
    """Return a quantile of Student's t distribution with n - 1 degrees of freedom."""
    from scipy import special

    return float(special.stdtrit(n - 1, probability))


def standard_deviation(values: Reals) -> Reals:
    """Return the standard deviation over the runs, with the divisor n - 1.

    For equal values it is exactly 0, without rounding error, because the first run is
    subtracted. `values` has shape (runs, ...), with at least two runs.

    >>> float(standard_deviation(np.array([0.1, 0.1, 0.1])))
    0.0
    """
    deviation = values - values[0]
    # np.std gives the same bits, but takes longer than the arithmetic of a few runs.
    deviation -= deviation.mean(axis=0)
    squares = np.add.reduce(deviation * deviation, axis=0)
    return np.asarray(np.sqrt(squares / (len(values) - 1)))


def welch_interval(one: Reals, other: Reals) -> Interval:
    """Return mean(other) - mean(one) with its 95% interval, for unequal variances.

    Source: Welch 1947. The shapes are (n,) and (m,). If `one` and `other` both have no
    spread, the interval has width zero. If `one` or `other` has fewer than two values,
    the interval is NaN.

    >>> mean, lo, hi = welch_interval(np.array([1.0, 2, 3]), np.array([3.0, 4, 5]))
    >>> round(float(mean), 3), round(float(lo), 3), round(float(hi), 3)
    (2.0, -0.267, 4.267)
    """
    from scipy import stats

    mean = mean_interval(other).mean - mean_interval(one).mean
    if min(len(one), len(other)) < 2:
        return Interval(mean, *np.full((2, *mean.shape), np.nan))
    if np.ptp(one) == 0 == np.ptp(other):
        return Interval(mean, mean, mean)
    test = stats.ttest_ind(other, one, equal_var=False)
    return Interval(mean, *map(np.asarray, test.confidence_interval(0.95)))
