"""Power: which differences a paired t-test finds, and how many seeds it needs.

A test that finds nothing says little if it could find only large differences. These
functions return the smallest true difference that the test finds with a probability of
80%, and whether a difference is shown to be smaller than a margin.
"""

from __future__ import annotations

import bisect
import functools

import numpy as np

from analysis.statistics.intervals import Reals, t_quantile

POWER = 0.8
"""The probability with which a detectable difference is found."""

LEVEL = 0.05
"""The error probability of one family of tests."""

MOST_SEEDS = 1000
"""The largest number of seeds that `seeds_needed` returns."""


@functools.cache
def detectable_effect(n: int, tests: int = 1) -> float:
    """Return the smallest true difference that n pairs find, in standard deviations.

    The two-sided paired t-test at level `LEVEL` / tests (Bonferroni) finds this
    difference with probability `POWER`, by the noncentral t distribution. Holm's test
    finds it with at least this probability. The result is infinite for fewer than two
    pairs.

    >>> round(detectable_effect(10), 2), round(detectable_effect(3, 540) , 0)
    (1.0, 76.0)
    """
    from scipy import optimize, stats

    if n < 2:
        return float("inf")
    critical = stats.t.isf(LEVEL / tests / 2, n - 1)

    def excess_power(effect: float) -> float:
        # The other tail adds less than LEVEL / 2 and is left out.
        return float(stats.nct.sf(critical, n - 1, effect * np.sqrt(n))) - POWER

    # An effect at the critical value has a power of about one half, so start above it.
    high = (critical + 3) / np.sqrt(n)
    while not excess_power(high) > 0:
        high *= 2
    return float(optimize.brentq(excess_power, 0, high, xtol=1e-6 * high))


def seeds_needed(effect: float, tests: int = 1) -> int | None:
    """Return how many pairs find a difference of `effect` standard deviations.

    The probability to find it is `POWER`. Return None if `MOST_SEEDS` are too few.

    >>> seeds_needed(1.0), seeds_needed(0.5), seeds_needed(0.01)
    (10, 34, None)
    """
    if not effect > 0 or detectable_effect(MOST_SEEDS, tests) > effect:
        return None
    # More pairs find a smaller effect, so the negative effects ascend.
    return bisect.bisect_left(
        range(MOST_SEEDS), -effect, 2, key=lambda n: -detectable_effect(n, tests)
    )


def is_equivalent(differences: Reals, margin: float) -> bool:
    """Return whether the mean difference is shown to be within ± margin.

    The test is TOST, two one-sided t-tests at 5% (Schuirmann 1987): the 90% t-interval
    of the mean lies inside the margin. Return False for fewer than two pairs.

    >>> is_equivalent(np.array([0.1, -0.1, 0.05, -0.05]), 0.2)
    True
    """
    n = len(differences)
    if n < 2:
        return False
    error = float(np.std(differences, ddof=1)) / np.sqrt(n)
    half = t_quantile(n, 0.95) * error
    return bool(abs(float(np.mean(differences))) + half < margin)
