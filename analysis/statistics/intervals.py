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
    """A mean and the ends of its interval; NaN where there are too few runs."""

    mean: Reals
    lo: Reals
    hi: Reals

    def columns(self, name: str) -> dict[str, float]:
        """Return the cells of one number in a table: NAME, NAME_lo and NAME_hi."""
        ends = zip(("", "_lo", "_hi"), self, strict=True)
        return {name + end: float(value) for end, value in ends}


def mean_interval(values: Reals, confidence: float = 0.95) -> Interval:
    """Return the mean over the runs and its t-interval.

    mean ± t(1 - (1 - confidence) / 2; n - 1) s / sqrt(n), with s the standard deviation
    of the n runs (divisor n - 1). Source: Student 1908. Equal runs give an interval of
    width zero, one run has no interval, and no run has no mean either.

    Args:
        values: Shape (runs, ...). Intervals are pointwise, not joint.
        confidence: Between 0 and 1.

    Returns:
        Arrays of the shape of one run, in the unit of `values`.

    Raises:
        ValueError: The confidence is not between 0 and 1.

    >>> mean, lo, hi = mean_interval(np.array([4.0, 5.0, 6.0]))
    >>> float(mean), round(float(lo), 3), round(float(hi), 3)
    (5.0, 2.516, 7.484)
    >>> mean_interval(np.array([4.0])).lo
    array(nan)
    """
    from scipy import stats

    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, must lie between 0 and 1")
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    undefined = np.full(values.shape[1:], np.nan)
    if n == 0:
        return Interval(undefined, undefined, undefined)
    # Deviations from the first run: constant values then have a spread of exactly 0.
    deviation = values - values[0]
    mean = np.asarray(values[0] + deviation.mean(axis=0))
    if n == 1:
        return Interval(mean, undefined, undefined)
    spread = deviation.std(axis=0, ddof=1) / np.sqrt(n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread
    return Interval(mean, np.asarray(mean - half), np.asarray(mean + half))


def welch_interval(one: Reals, other: Reals) -> Interval:
    """Return mean(other) - mean(one) with its 95% interval, for unequal variances.

    Source: Welch 1947. Samples with no spread have an interval of width zero; a sample
    of one has none.

    Args:
        one: Shape (n,).
        other: Shape (m,).

    >>> mean, lo, hi = welch_interval(np.array([1.0, 2, 3]), np.array([3.0, 4, 5]))
    >>> round(float(mean), 3), round(float(lo), 3), round(float(hi), 3)
    (2.0, -0.267, 4.267)
    """
    from scipy import stats

    mean = mean_interval(other).mean - mean_interval(one).mean
    undefined = np.full((), np.nan)
    if min(len(one), len(other)) < 2:
        return Interval(mean, undefined, undefined)
    if np.ptp(one) == 0 == np.ptp(other):
        return Interval(mean, mean, mean)
    test = stats.ttest_ind(other, one, equal_var=False)
    return Interval(mean, *map(np.asarray, test.confidence_interval(0.95)))
