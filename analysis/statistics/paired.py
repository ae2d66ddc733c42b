"""Paired differences: the same seeds under two settings, and what they tell.

A seed fixes the initial weights, the stream of tasks and the order of examples, so two
settings differ, seed by seed, by what the settings do and not by what they met. The
seed is the unit: a metric is first taken within each run, and only then compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.statistics.intervals import mean_interval

Floats = npt.NDArray[np.float64]

ROUNDING = 16 * np.finfo(np.float64).eps
"""Differences that vary by less than this part of the numbers they are taken of do not
vary: they were rounded differently."""


class Paired(NamedTuple):
    """A mean difference, how sure it is and how large; NaN where it is not known."""

    mean: Floats
    lo: Floats
    hi: Floats
    p: Floats
    effect: Floats


def paired_difference(one: Floats, other: Floats, confidence: float = 0.95) -> Paired:
    """Return the mean of one less the other over the pairs, and what is known of it.

    With d = one - other, mean m and standard deviation s (divisor n - 1) over n pairs:

    - interval: m ± t(1 - (1 - confidence) / 2; n - 1) s / sqrt(n)
    - p: that of the two-sided paired t-test, 2 P(T > |m| sqrt(n) / s), n - 1 degrees
      of freedom. Source: Student 1908.
    - effect: J m / s, Cohen's d_z (Cohen 1988, section 2.3.5) with Hedges' correction
      for small samples (Hedges 1981), which it would else exceed on average:
      J = Gamma(f / 2) / (sqrt(f / 2) Gamma((f - 1) / 2)), f = n - 1.

    One pair has a mean and nothing else. Differences that do not vary have an interval
    of no width, and neither p nor effect: a t-test has nothing to measure them by. For
    two pairs there is no effect: its mean does not exist.

    Args:
        one: Shape (pairs, ...): each place along the other axes is by itself.
        other: Of the same shape.
        confidence: Of the interval, between 0 and 1.

    Returns:
        Arrays of the shape of one pair; mean, lo and hi in the unit of what is given.

    >>> found = paired_difference(np.array([4.0, 5.0, 6.0]), np.array([2.0, 4.0, 3.0]))
    >>> [round(float(value), 3) for value in found]
    [2.0, -0.484, 4.484, 0.074, 1.128]
    """
    # What scipy.stats calls; scipy.stats itself takes a second to import.
    from scipy.special import gammaln, stdtr

    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    difference = one - other
    n = len(difference)
    mean, lo, hi = mean_interval(difference, confidence)
    nowhere = np.full(difference.shape[1:], np.nan)
    if n < 2:
        return Paired(mean, lo, hi, nowhere, nowhere)
    spread = np.asarray((difference - difference[0]).std(axis=0, ddof=1))
    size = np.maximum(np.abs(one), np.abs(other)).max(axis=0)
    varies = spread > ROUNDING * size
    scale = np.divide(mean, spread, out=nowhere.copy(), where=varies)
    p = np.asarray(2 * stdtr(n - 1, -np.abs(scale) * np.sqrt(n)))
    if n == 2:
        return Paired(mean, lo, hi, p, nowhere)
    half = (n - 1) / 2
    correction = np.exp(gammaln(half) - gammaln(half - 0.5)) / np.sqrt(half)
    return Paired(mean, lo, hi, p, np.asarray(correction * scale))


def holm(p: Sequence[float] | Floats) -> Floats:
    """Return p-values corrected for how many there are.

    p in ascending order, m of them: the i-th from 0 becomes the largest of
    (m - j) p[j] over j <= i, and at most 1. Rejecting what then lies below 5% rejects
    something true in at most 5% of studies, however the tests depend on each other.
    Source: Holm 1979. A NaN stays one and is not counted.

    >>> holm([0.01, 0.04, 0.03, float("nan")]).round(3).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
