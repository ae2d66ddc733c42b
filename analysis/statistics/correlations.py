"""Rank correlations of two series, and their mean over runs.

Two series that only drift along the stream correlate. So there are two correlations:
`spearman` of the series, and `detrended_spearman` of the series minus a smooth trend.

The mean of correlations and its interval are computed from Fisher's z = artanh r
(Fisher 1921) and transformed back. An interval of r itself can go beyond -1 or 1.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from analysis.statistics.intervals import Interval, Reals, mean_interval

LEAST = 4
"""The smallest number of points to correlate.

With three points, a third of all orders give a correlation of exactly 1 or -1.
"""

DEGREE = 5
"""The largest degree of the polynomial that is subtracted as the trend.

Such a polynomial can follow a rise, a fall and two more turns. If only a line was
subtracted, two series that rise and then fall would still correlate.
"""


def spearman(one: Reals, other: Reals) -> Reals:
    """Return the rank correlation of each row of `one` with the same row of `other`.

    It is Pearson's correlation of the ranks, where equal values have their mean rank
    (Spearman 1904). `scipy.stats.spearmanr` computes the same for one row at a time.

    `one` and `other` have shape (rows, n). A position is left out if `one` or `other`
    is NaN there. The result has shape (rows,). It is NaN if fewer than `LEAST` points
    are left, or if all values of `one` or of `other` are equal.

    >>> spearman(np.array([[1.0, 2, 3, 9]]), np.array([[2.0, 4, 8, 5]])).tolist()
    [0.8]
    """
    return _correlate(one, other, detrend=False)


def detrended_spearman(one: Reals, other: Reals) -> Reals:
    """Return the rank correlation without a smooth trend along the row.

    Both rows are replaced by their ranks. Then a polynomial of the position, fitted by
    least squares, is subtracted from each row. Positions without a value are not
    counted, and the degree of the polynomial is `trend_degree` of the number of points.
    The result is Pearson's correlation of the residuals: the partial correlation of the
    ranks, given the polynomial.

    The shapes are those of `spearman`. The result is NaN if `spearman` is undefined, or
    if the residuals of a row are 0. They are 0 if the row rises (or falls) at every
    position, because then its ranks lie on a line.

    >>> hill = np.array([[1.0, 3, 5, 7, 9, 8, 6, 4, 2, 0]])
    >>> one = hill + np.array([0, 0, 3, 0, 0, 0, 3, 0, 0, 0])
    >>> other = hill + np.array([0, 3, 0, 0, 3, 0, 0, 3, 0, 0])
    >>> float(spearman(one, other)[0].round(2))
    0.75
    >>> float(detrended_spearman(one, other)[0].round(2))
    -0.42
    """
    return _correlate(one, other, detrend=True)


def trend_degree(points: int) -> int:
    """Return the degree of the trend for a series with this number of points.

    From 5 points on, each 3 more points add one degree. So the trend fits only a small
    part of pure noise, and most of its variance remains.

    >>> [trend_degree(points) for points in (4, 8, 11, 14, 17, 100)]
    [1, 2, 3, 4, 5, 5]
    """
    return int(np.clip((points - 2) // 3, 1, DEGREE))


def _correlate(one: Reals, other: Reals, detrend: bool) -> Reals:
    measured = ~(np.isnan(one) | np.isnan(other))
    result = np.full(len(one), np.nan)
    # All rows with values at the same positions are computed together.
    patterns, pattern_of_row = np.unique(measured, axis=0, return_inverse=True)
    for i, columns in enumerate(patterns):
        rows = pattern_of_row == i
        if columns.sum() < LEAST:
            continue
        x, y = (_centered_ranks(values[rows][:, columns]) for values in (one, other))
        if detrend:
            x, y = _without_trend(x), _without_trend(y)
        size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        result[rows] = (x * y).sum(axis=1) / np.where(size > 0, size, np.nan)
    return result


def _centered_ranks(values: Reals) -> Reals:
    """Return the ranks in each row, shape (rows, n), minus their mean."""
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy()
    return np.asarray(ranks - (values.shape[1] + 1) / 2)


def _without_trend(ranks: Reals) -> Reals:
    """Return centered ranks, shape (rows, n), minus their least-squares polynomial."""
    points = ranks.shape[1]
    trend = _orthogonal_polynomials(points, trend_degree(points))
    rest = ranks - (ranks @ trend) @ trend.T
    # If the trend leaves at most 1e-12 of the variance, the rest is rounding error.
    empty = (rest**2).sum(axis=1) <= 1e-12 * (ranks**2).sum(axis=1)
    return np.asarray(np.where(empty[:, None], 0, rest))


@functools.cache
def _orthogonal_polynomials(points: int, degree: int) -> Reals:
    """Return polynomials as orthonormal columns, shape (points, degree + 1)."""
    position = np.linspace(-1, 1, points)
    basis = np.linalg.qr(np.polynomial.legendre.legvander(position, degree))[0]
    basis.flags.writeable = False
    return np.asarray(basis)


def mean_correlation(correlations: Reals, points: int) -> Interval:
    """Return the mean of correlations and its 95% interval, by Fisher's z.

    The mean and the t-interval (`mean_interval`) of z = artanh r are transformed back
    by tanh. So both ends lie between -1 and 1, and the interval is not symmetric.

    A correlation of exactly 1 has an infinite z. Of n points without ties, the largest
    rank correlation below 1 is 1 - 12 / (n^3 - n). So correlations above
    1 - 6 / (n^3 - n), which is halfway to 1, count as 1 - 6 / (n^3 - n), and
    correlations below the negative of this number count as its negative. But the mean
    of equal correlations is that correlation, with an interval of width zero.

    Args:
        correlations: Shape (runs,). NaN is left out.
        points: The number of points of each correlation.

    >>> [round(float(end), 3) for end in mean_correlation(np.array([0.9, 0.5, 0.8]), 9)]
    [0.778, -0.113, 0.975]
    >>> [float(end) for end in mean_correlation(np.array([1.0, 1.0, np.nan]), 9)]
    [1.0, 1.0, 1.0]
    """
    values = correlations[~np.isnan(correlations)]
    if len(values) < 2 or np.ptp(values) == 0:
        return mean_interval(values)
    z = mean_interval(fisher(values, points))
    return Interval(*(np.asarray(np.tanh(end)) for end in z))


def fisher(correlations: Reals, points: int) -> Reals:
    """Return Fisher's z of correlations of `points` points; see `mean_correlation`."""
    limit = 1 - 6 / (points**3 - points)
    return np.arctanh(np.clip(correlations, -limit, limit))
