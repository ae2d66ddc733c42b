"""Paired differences: the same seeds under two settings.

A seed fixes the initial weights, the stream of tasks and the order of examples, so the
difference of two settings with the same seed is due to the settings. Each run first
gives one number, its metric; the seeds are the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.statistics.intervals import Reals, mean_interval

ROUNDING = 16 * np.finfo(np.float64).eps
"""Relative tolerance below which a spread of differences counts as rounding error."""


class Paired(NamedTuple):
    """A mean difference, its interval, p-value and effect size; NaN where undefined."""

    mean: Reals
    lo: Reals
    hi: Reals
    p: Reals
    effect: Reals


def paired_difference(one: Reals, other: Reals) -> Paired:
    """Return the mean of one - other over the pairs, with interval, p and effect.

    Both have the shape (pairs, ...); each position along the other axes is independent.

    With d = one - other, mean m and standard deviation s (divisor n - 1) over n pairs:

    - 95% interval: m ± t(0.975; n - 1) s / sqrt(n)
    - p: of the two-sided paired t-test, 2 P(T > |m| sqrt(n) / s) with n - 1 degrees of
      freedom. Source: Student 1908.
    - effect: J m / s, Cohen's d_z (Cohen 1988, section 2.3.5) with Hedges' correction
      of its bias in small samples (Hedges 1981):
      J = Gamma(f / 2) / (sqrt(f / 2) Gamma((f - 1) / 2)), f = n - 1.

    One pair has a mean and nothing else. Differences that do not vary have an interval
    of width zero, and neither p nor effect. Two pairs have no effect, because its
    expectation does not exist.

    >>> test = paired_difference(np.array([4.0, 5.0, 6.0]), np.array([2.0, 4.0, 3.0]))
    >>> [round(float(value), 3) for value in test]
    [2.0, -0.484, 4.484, 0.074, 1.128]
    """
    from scipy import special, stats

    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    difference = one - other
    n = len(difference)
    mean, lo, hi = mean_interval(difference)
    undefined = np.full(difference.shape[1:], np.nan)
    if n < 2:
        return Paired(mean, lo, hi, undefined, undefined)
    spread = np.asarray((difference - difference[0]).std(axis=0, ddof=1))
    size = np.maximum(np.abs(one), np.abs(other)).max(axis=0)
    varies = spread > ROUNDING * size
    ratio = np.divide(mean, spread, out=undefined.copy(), where=varies)
    # stats.ttest_rel would warn of differences that do not vary.
    p = np.asarray(2 * stats.t.sf(np.abs(ratio) * np.sqrt(n), n - 1))
    if n == 2:
        return Paired(mean, lo, hi, p, undefined)
    half = (n - 1) / 2
    logarithm = special.gammaln(half) - special.gammaln(half - 0.5)
    correction = np.exp(logarithm) / np.sqrt(half)
    return Paired(mean, lo, hi, p, np.asarray(correction * ratio))


def holm(p: Sequence[float] | Reals) -> Reals:
    """Return p-values corrected for the number of tests.

    Of m values in ascending order, the i-th (from 0) becomes the largest of
    (m - j) p[j] over j <= i, and at most 1. Values below 5% then include a true null
    hypothesis in at most 5% of studies, however the tests depend on each other.
    Source: Holm 1979. NaN stays NaN and is not counted.

    >>> holm([0.01, 0.04, 0.03, float("nan")]).round(3).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
