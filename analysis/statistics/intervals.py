"""Intervals: how well a mean over runs is known.

Runs are independent of each other; the tasks of a run are not. So each run first gives
one number, and the interval is over runs only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A mean and the ends of its 95% interval; NaN where there are too few runs."""

    mean: Reals
    lo: Reals
    hi: Reals

    def columns(self, name: str) -> dict[str, float]:
        """Return the cells of one number in a table: NAME, NAME_lo and NAME_hi."""
        ends = zip(("", "_lo", "_hi"), self, strict=True)
        return {name + end: float(value) for end, value in ends}


def mean_interval(values: Reals) -> Interval:
    """Return the mean over the runs and its 95% t-interval, in the unit of `values`.

    mean ± t(0.975; n - 1) s / sqrt(n), with s the standard deviation of the n runs
    (divisor n - 1). Source: Student 1908. Equal runs give an interval of width zero,
    one run has no interval, and no run has no mean either.

    Args:
        values: Shape (runs, ...). Intervals are pointwise, not joint.

    >>> mean, lo, hi = mean_interval(np.array([4.0, 5.0, 6.0]))
    >>> float(mean), round(float(lo), 3), round(float(hi), 3)
    (5.0, 2.516, 7.484)
    >>> mean_interval(np.array([4.0])).lo
    array(nan)
    """
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    mean = lo = hi = np.full(values.shape[1:], np.nan)
    if n:
        # Deviations from the first run: equal values have a spread of exactly 0.
        deviation = values - values[0]
        mean = np.asarray(values[0] + deviation.mean(axis=0))
    if n > 1:
        error = deviation.std(axis=0, ddof=1) / np.sqrt(n)
        half = float(stats.t.ppf(0.975, n - 1)) * error
        lo, hi = np.asarray(mean - half), np.asarray(mean + half)
    return Interval(mean, lo, hi)


def welch_interval(one: Reals, other: Reals) -> Interval:
    """Return mean(other) - mean(one) with its 95% interval, for unequal variances.

    Source: Welch 1947. Samples with no spread have an interval of width zero; a sample
    of one has none. The shapes are (n,) and (m,).

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
