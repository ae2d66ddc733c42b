"""Intervals: how well a mean over runs is known.

A run is the unit that is independent of the others; its tasks are not. So a metric is
first taken within each run, and the interval is over the runs only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Interval(NamedTuple):
    """A mean with its interval; NaN where there are too few runs to have one."""

    mean: npt.NDArray[np.float64]
    lo: npt.NDArray[np.float64]
    hi: npt.NDArray[np.float64]

    def columns(self, name: str) -> dict[str, float]:
        """Return the cells of one number in a table: NAME, NAME_lo and NAME_hi."""
        ends = zip(("", "_lo", "_hi"), self, strict=True)
        return {name + end: float(value) for end, value in ends}


def mean_interval(
    values: npt.NDArray[np.float64], confidence: float = 0.95
) -> Interval:
    """Return the mean over the runs and its t-interval.

    mean ± t(1 - (1 - confidence) / 2; n - 1) s / sqrt(n), with s the standard deviation
    of the n runs (divisor n - 1). Source: Student 1908. Two equal runs give an interval
    of width zero; one run gives its value as the mean and no interval; none gives
    neither.

    Args:
        values: Shape (runs, ...): the runs lie along the first axis, and each place
            along the others gets an interval of its own (pointwise, not joint).
        confidence: Between 0 and 1.

    Returns:
        Arrays of the shape of one run, in the unit of `values`.

    Raises:
        ValueError: The confidence does not lie between 0 and 1.

    >>> mean, lo, hi = mean_interval(np.array([4.0, 5.0, 6.0]))
    >>> float(mean), round(float(lo), 3), round(float(hi), 3)
    (5.0, 2.516, 7.484)
    >>> mean_interval(np.array([4.0])).lo
    array(nan)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, must lie between 0 and 1")
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    nowhere = np.full(values.shape[1:], np.nan)
    if n == 0:
        return Interval(nowhere, nowhere, nowhere)
    # Deviations from the first run: constant values then have a spread of exactly 0.
    deviation = values - values[0]
    mean = np.asarray(values[0] + deviation.mean(axis=0))
    if n == 1:
        return Interval(mean, nowhere, nowhere)
    spread = deviation.std(axis=0, ddof=1) / np.sqrt(n)
    half = np.asarray(_t_quantile(n - 1, (1 + confidence) / 2) * spread)
    return Interval(mean, np.asarray(mean - half), np.asarray(mean + half))


def _t_quantile(freedom: int, probability: float) -> float:
    """Return the quantile of Student's t distribution."""
    # What scipy.stats.t.ppf calls; scipy.stats itself takes a second to import.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))
