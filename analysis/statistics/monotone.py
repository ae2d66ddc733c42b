"""Fit a curve that never falls to the values of a function of one variable.

The curve is a monotone regression spline (Ramsay 1988, Statistical Science 3(4)): a sum
of smooth rises, none of them negative, that begin at equally spaced knots. Its sum of
squares is a smooth function of the positions of the points, so that exponents can be
fitted too. Isotonic regression would not do, because its sum of squares depends only on
the order of the points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from analysis.statistics.intervals import Reals, t_quantile

REACH = 2.0
"""The search for exponents goes from minus this number to this number."""

STEP = 1.0
"""The distance of neighboring exponents in the grid from which the search starts."""


class Curve(NamedTuple):
    """A curve that never falls: a constant plus a rise that begins at each knot."""

    start: float  # the value before the first knot
    knots: Reals  # shape (knots,), ascending
    rises: Reals  # the size of each rise, shape (knots,), never negative
    width: float  # the distance of the knots; a rise is twice as wide

    def __call__(self, x: Reals) -> Reals:
        """Return the values of the curve at x, in the shape of x."""
        return np.asarray(self.start + _ramps(x, self.knots, self.width) @ self.rises)


def fit_monotone(x: Reals, y: Reals, width: float) -> tuple[Curve, float]:
    """Return the curve with the least sum of squared residuals, and this sum.

    `x` and `y` have shape (n,), and `width` is the distance of the knots, in the unit
    of `x`.

    >>> curve, squares = fit_monotone(np.arange(4.0), np.array([1.0, 1, 2, 2]), 0.5)
    >>> curve(np.array([-9.0, 1.5, 9.0])).round(9).tolist(), round(squares, 9)
    ([1.0, 1.5, 2.0], 0.0)
    """
    from scipy import optimize

    count = max(1, int(np.ceil((x.max() - x.min()) / width - 1e-9)))
    knots = x.min() + width * np.arange(-1, count)
    ones = np.ones((len(x), 1))
    # All sizes are at least 0. The value before the first knot can be negative, so it
    # is the difference of two sizes.
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
    """Return the exponents e with which a monotone curve of x - factors @ e fits best.

    x and factors are logarithms. So x - factors @ e is the logarithm of a product of
    powers, for example of rho / lr^e. The search starts at the best point of a grid,
    and continues with the method of Nelder and Mead.

    Args:
        x: The logarithm of the first variable, shape (n,).
        factors: The logarithms of the other variables, shape (n, exponents).
        y: The values to explain, shape (n,).
        width: The distance of the knots of the curve; see `fit_monotone`.

    Returns:
        Shape (exponents,), from -`REACH` to `REACH`.
    """
    from scipy import optimize

    def squares(exponents: Reals) -> float:
        return fit_monotone(x - factors @ exponents, y, width)[1]

    steps = np.arange(-REACH, REACH + STEP / 2, STEP)
    count = factors.shape[1]
    grid = np.stack(np.meshgrid(*[steps] * count), axis=-1).reshape(-1, count)
    start = min(grid, key=squares)
    result = optimize.minimize(
        squares,
        start,
        method="Nelder-Mead",
        bounds=[(-REACH, REACH)] * count,
        options={
            "initial_simplex": start + STEP / 2 * np.eye(count + 1, count, -1),
            "xatol": 1e-3,
            "fatol": 1e-9,
        },
    )
    return np.asarray(result.x)


def isotonic_squares(values: Reals) -> float:
    """Return the squared distance of values to the nearest sequence that never falls.

    >>> isotonic_squares(np.array([0.0, 2.0, 1.0, 3.0]))
    0.5
    """
    from scipy import optimize

    return float(np.square(values - optimize.isotonic_regression(values).x).sum())


def jackknife(
    estimate: Callable[[Sequence[int]], Reals], count: int
) -> tuple[Reals, Reals]:
    """Return the lower and the upper end of a 95% interval for an estimate.

    The estimate is from a sample of units, for example of seeds or of curves. It is
    computed again without each unit. The interval is the t-interval of Tukey's
    pseudo-values of the units (Miller 1974, Biometrika 61(1)). An interval from the
    bootstrap would be too narrow for few units: for the mean of five units by more than
    a third.

    Args:
        estimate: A function that gets the numbers of some units, and returns the
            estimate from these units, an array.
        count: The number of units. With fewer than three, both ends are NaN.
    """
    units = range(count)
    whole = estimate(units)
    if count < 3:
        return np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    parts = np.stack([estimate([u for u in units if u != i]) for i in units])
    # The pseudo-values are count * whole - (count - 1) * part.
    error = (count - 1) * parts.std(axis=0, ddof=1) / np.sqrt(count)
    half = t_quantile(count) * error
    return whole - half, whole + half
