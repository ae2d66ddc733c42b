"""Compare two settings by paired differences: run by run with the same seed.

A seed fixes the initial weights, the tasks and the order of examples. So if two runs
have the same seed, their difference is due to their settings. Each run first gives one
number, its metric. The sample has one difference per seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.statistics.intervals import Reals, mean_interval, standard_deviation

ROUNDING = 16 * np.finfo(np.float64).eps
"""The largest standard deviation of differences that counts as rounding error, divided
by the largest absolute value in the two samples."""


class Paired(NamedTuple):
    """A mean difference, 95% interval, p-value and effect size; NaN if undefined."""

    mean: Reals
    lo: Reals
    hi: Reals
    p: Reals
    effect: Reals


def paired_difference(one: Reals, other: Reals) -> Paired:
    """Return the mean of one - other over the pairs, with interval, p and effect.

    The shape of `one` and of `other` is (pairs, ...). Each position along the axes
    after the first is tested separately.

    Let d = one - other, with mean m and standard deviation s (divisor n - 1) over the n
    pairs. Then:

    - 95% interval: m ± t(0.975; n - 1) s / sqrt(n)
    - p: the p-value of the two-sided paired t-test, 2 P(T > |m| sqrt(n) / s) with
      n - 1 degrees of freedom. Source: Student 1908.
    - effect: J m / s. This is Cohen's d_z (Cohen 1988, section 2.3.5) with Hedges'
      correction for bias in small samples (Hedges 1981):
      J = Gamma(f / 2) / (sqrt(f / 2) Gamma((f - 1) / 2)), where f = n - 1.

    With one pair, all values except the mean are NaN. If all differences are equal, the
    interval has width zero, and p and effect are NaN. With two pairs, effect is NaN,
    because its expected value does not exist.

    >>> test = paired_difference(np.array([4.0, 5.0, 6.0]), np.array([2.0, 4.0, 3.0]))
    >>> [round(float(value), 3) for value in test]
    [2.0, -0.484, 4.484, 0.074, 1.128]
    """
    from scipy import special

    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    difference = one - other
    n = len(difference)
    mean, lo, hi = mean_interval(difference)
    undefined = np.full(difference.shape[1:], np.nan)
    if n < 2:
        return Paired(mean, lo, hi, undefined, undefined)
    spread = standard_deviation(difference)
    size = np.maximum(np.abs(one), np.abs(other)).max(axis=0)
    varies = spread > ROUNDING * size
    ratio = np.divide(mean, spread, out=undefined.copy(), where=varies)
    # stats.ttest_rel is not used, because it warns if all differences are equal.
    p = np.asarray(2 * special.stdtr(n - 1, -np.abs(ratio) * np.sqrt(n)))
    if n == 2:
        return Paired(mean, lo, hi, p, undefined)
    half = (n - 1) / 2
    logarithm = special.gammaln(half) - special.gammaln(half - 0.5)
    correction = np.exp(logarithm) / np.sqrt(half)
    return Paired(mean, lo, hi, p, np.asarray(correction * ratio))


def holm(p: Sequence[float] | Reals) -> Reals:
    """Return p-values with Holm's correction for the number of tests.

    Sort the m p-values in ascending order, from p[0]. The corrected value i is the
    largest of (m - j) p[j] over all j <= i, and at most 1. If corrected values below 5%
    count as significant, the chance of any false positive is at most 5%. This also
    holds if the tests depend on each other. Source: Holm 1979. NaN stays NaN and is not
    counted as a test.

    >>> holm([0.01, 0.04, 0.03, float("nan")]).round(3).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
