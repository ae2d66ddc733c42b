"""Fit a curve that never falls to values that may follow one variable.

The curve is a monotone regression spline (Ramsay 1988, Statistical Science 3(4)): a
sum of smooth rises that begin at knots of a fixed distance, none of them negative. A
step curve, as isotonic regression fits it, depends only on the order of the points:
its sum of squares does not change while an exponent moves, until two points change
places. The sum of squares of this curve is smooth, so that exponents can be fitted too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from analysis.statistics.intervals import Reals

REACH = 2.0
"""Exponents are looked for between minus and plus this number."""

STEP = 1.0
"""The distance of the exponents from which the search starts."""


class Curve(NamedTuple):
    """A curve that never falls: constant, but for a rise that begins at each knot."""

    start: float  # the value before the first knot
    knots: Reals  # shape (knots,), ascending
    rises: Reals  # shape (knots,), never negative
    width: float  # the distance of the knots; a rise takes two

    def __call__(self, x: Reals) -> Reals:
        """Return the curve at x, of the same shape."""
        return np.asarray(self.start + _ramps(x, self.knots, self.width) @ self.rises)


def fit_monotone(x: Reals, y: Reals, width: float) -> tuple[Curve, float]:
    """Return the curve with the least sum of squares, and this sum.

    Args:
        x: Where the values were measured, shape (n,).
        y: The values, shape (n,).
        width: The distance of the knots, in the unit of x.

    >>> curve, squares = fit_monotone(np.arange(4.0), np.array([1.0, 1, 2, 2]), 0.5)
    >>> curve(np.array([-9.0, 1.5, 9.0])).round(9).tolist(), round(squares, 9)
    ([1.0, 1.5, 2.0], 0.0)
    """
    from scipy import optimize

    count = max(1, int(np.ceil((x.max() - x.min()) / width - 1e-9)))
    knots = x.min() + width * np.arange(-1, count)
    ones = np.ones((len(x), 1))
    # The value before the first knot may be negative: the difference of two sizes.
    columns = np.hstack([ones, -ones, _ramps(x, knots, width)])
    sizes, distance = optimize.nnls(columns, y)
    start = float(sizes[0] - sizes[1])
    return Curve(start, knots, sizes[2:], width), float(distance) ** 2


def _ramps(x: Reals, knots: Reals, width: float) -> Reals:
    """Return rises from 0 to 1 that begin at each knot and end two knots later.

    A rise is the integral of a triangle, so that its slope has no jumps.
    """
    u = np.clip((x[:, None] - knots) / width, 0, 2)
    return np.where(u < 1, u**2 / 2, 1 - (2 - u) ** 2 / 2)


def fit_exponents(x: Reals, factors: Reals, y: Reals, width: float) -> Reals:
    """Return the e for which a monotone curve over x - factors @ e explains most of y.

    In logarithms, x - factors @ e is the variable exp(x) / product of factor ** e. The
    search starts at the best point of a grid, and goes on by Nelder-Mead.

    Args:
        x: Shape (n,).
        factors: Shape (n, exponents).
        y: Shape (n,).
        width: The distance of the knots of the curve; see `fit_monotone`.

    Returns:
        Shape (exponents,), from -`REACH` to `REACH`.
    """
    from scipy import optimize

    def left(exponents: Reals) -> float:
        return fit_monotone(x - factors @ exponents, y, width)[1]

    steps = np.arange(-REACH, REACH + STEP / 2, STEP)
    count = factors.shape[1]
    grid = np.stack(np.meshgrid(*[steps] * count), axis=-1).reshape(-1, count)
    start = min(grid, key=left)
    found = optimize.minimize(
        left,
        start,
        method="Nelder-Mead",
        bounds=[(-REACH, REACH)] * count,
        options={
            "initial_simplex": start + STEP / 2 * np.eye(count + 1, count, -1),
            "xatol": 1e-3,
            "fatol": 1e-9,
        },
    )
    return np.asarray(found.x)


def isotonic_squares(values: Reals) -> float:
    """Return what the best sequence that never falls leaves of some values.

    >>> isotonic_squares(np.array([0.0, 2.0, 1.0, 3.0]))
    0.5
    """
    from scipy import optimize

    return float(np.square(values - optimize.isotonic_regression(values).x).sum())


def jackknife(
    estimate: Callable[[Sequence[int]], Reals], count: int
) -> tuple[Reals, Reals]:
    """Return the lower and the upper end of a 95% interval for an estimate.

    The estimate is computed again without each unit. Tukey's pseudo-values of the units
    then have a t-interval (Miller 1974, Biometrika 61(1)). With five units, the
    intervals of a bootstrap are too narrow, because it has neither the divisor n - 1
    nor a quantile of t: for a mean, by more than a third.

    Args:
        estimate: Returns the estimate, an array, from the numbers of some units.
        count: The number of units. With fewer than three, both ends are NaN.
    """
    from scipy import special

    units = range(count)
    whole = estimate(units)
    if count < 3:
        return np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    parts = np.stack([estimate([u for u in units if u != i]) for i in units])
    # The pseudo-values are count * whole - (count - 1) * part.
    error = (count - 1) * parts.std(axis=0, ddof=1) / np.sqrt(count)
    half = float(special.stdtrit(count - 1, 0.975)) * error
    return whole - half, whole + half
