"""Decide whether a statement about several numbers is supported or contradicted.

A statement says of each number that it lies in a region, for example above 0. It is
about every number ("no optimizer differs") or about at least one ("some optimizer
improves"). Each number has two p-values: a small `p_for` shows that the number lies in
the region, and a small `p_against` shows that it does not. Numbers that show neither
leave the statement undecided, which does not mean that it is false.

    every       supported: each number is shown to lie in the region. Such a test needs
                no correction (intersection-union, Berger 1982). contradicted: one
                number is shown to lie outside of the region, with Holm's correction.
    at least    supported: one number is shown to lie in the region, with Holm's
    one         correction. contradicted: each number is shown to lie outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np

from analysis.statistics.intervals import Reals, t_quantile
from analysis.statistics.paired import ROUNDING, holm
from analysis.statistics.power import LEVEL, detectable_effect

SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED, UNMEASURED = "undecided", "not measured"

INFINITE = float("inf")
UNDEFINED = float("nan")

Region = tuple[float, float]
"""The two ends of the region in which a number is said to lie; an end can be ±inf."""


@attrs.frozen
class Unit:
    """The unit in which a number is shown."""

    name: str
    show: Callable[[float], float]  # converts from the scale of the tests to the unit
    size: str  # the format in which a sentence shows a difference


def _percent(value: float) -> float:
    return 100 * value


POINTS = Unit("pp", _percent, "{:.2f} pp")
POINTS_OVER_STREAM = Unit("pp over stream", _percent, "{:.2f} pp over the stream")
FACTOR = Unit("times over stream", np.exp, "a factor of {:.2f} over the stream")
CORRELATION = Unit("rank correlation", np.tanh, "{:.2f} (correlation)")


@attrs.frozen(kw_only=True)
class Number:
    """A mean over seeds, and what the data show about it."""

    subject: str  # what the number describes, for example "SGD lr 0.01"
    mean: float  # the mean over the seeds, in the scale of the tests (e.g. a logarithm)
    sd: float  # the standard deviation over the seeds (divisor n - 1); can be NaN
    n: int  # the number of seeds
    unit: Unit  # the unit in which the number is shown
    command: str = ""  # the command that prints the number
    # A small `p_for` shows that the statement is true for this number, and a small
    # `p_against` shows that it is false. NaN if the number is not tested.
    p_for: float = UNDEFINED
    p_against: float = UNDEFINED
    note: str = ""  # a remark on the number
    untested: str = ""  # why the number cannot be tested; empty if it can be tested

    @property
    def tested(self) -> bool:
        """Whether the number counts for the verdict."""
        return not np.isnan(self.p_for)

    @property
    def interval(self) -> tuple[float, float, float]:
        """The mean and the two ends of its 95% t-interval, in the unit."""
        half = self._half(0.975)
        ends = (self.mean, self.mean - half, self.mean + half)
        mean, lo, hi = (self.unit.show(end) for end in ends)
        return mean, lo, hi

    @property
    def text(self) -> str:
        """The mean and its interval as text, in the unit but without its name."""
        mean, lo, hi = self.interval
        if np.isnan(lo):
            return f"{mean:.2f} (no interval)"
        return f"{mean:.2f} ({lo:.2f} to {hi:.2f})"

    @property
    def bound(self) -> float:
        """The smallest margin within which the number is shown to lie (TOST at 5%)."""
        return self.unit.show(abs(self.mean) + self._half(0.95))

    def detectable(self, tests: int) -> float:
        """Return the smallest true difference that is found with a probability of 80%.

        The difference is in the unit of the number. The test is corrected for `tests`
        tests (Bonferroni).
        """
        if not self.sd > 0:
            return UNDEFINED
        return self.unit.show(self.sd * detectable_effect(self.n, max(tests, 1)))

    def judge(self, region: Region, refuted: Region | None = None) -> Number:
        """Return the number with p-values for the statement that it lies in a region.

        A number that is shown to lie outside of `refuted` contradicts the statement,
        unless it is shown to lie in `region`. `refuted` can be larger or smaller than
        `region`, and None means `region`.
        """
        if self.untested or self.n < 2 or not self.sd > 0:
            return self
        p_for = self.p_inside(region)
        p_against = self.p_outside(refuted or region)
        return attrs.evolve(
            self, p_for=p_for, p_against=1.0 if p_for < LEVEL else p_against
        )

    def p_inside(self, region: Region) -> float:
        """Return the p-value that shows that the true mean lies in a region.

        If both ends are finite, the p-value is from two one-sided t-tests (TOST,
        Schuirmann 1987). If one end is finite, it is from the two-sided t-test, and it
        is below 5% if the 95% interval lies in the region.
        """
        low, high = region
        ps = [self._p_above(low)] if np.isfinite(low) else []
        ps += [self._p_below(high)] if np.isfinite(high) else []
        return min(1.0, max(ps) * (2 if len(ps) == 1 else 1))

    def p_outside(self, region: Region) -> float:
        """Return the p-value that shows that the true mean lies outside of a region.

        The p-value is below 5% if the whole 95% interval is on one side of the region.
        """
        low, high = region
        ps = [self._p_below(low)] if np.isfinite(low) else []
        ps += [self._p_above(high)] if np.isfinite(high) else []
        return min(1.0, 2 * min(ps))

    def _p_above(self, limit: float) -> float:
        """Return the p-value of the one-sided t-test that the mean is above a limit."""
        from scipy import special

        t = (self.mean - limit) / self.sd * np.sqrt(self.n)
        return float(special.stdtr(self.n - 1, -t))

    def _p_below(self, limit: float) -> float:
        return attrs.evolve(self, mean=-self.mean)._p_above(-limit)

    def _half(self, quantile: float) -> float:
        """Return half the width of the t-interval whose upper end is this quantile."""
        if self.n < 2:
            return UNDEFINED
        return float(t_quantile(self.n, quantile) * self.sd / np.sqrt(self.n))


def number_of(values: Reals, subject: str, unit: Unit) -> Number:
    """Return the mean over seeds as a number; `values` has shape (seeds,)."""
    n = len(values)
    sd = float(values.std(ddof=1)) if n > 1 else UNDEFINED
    if n > 1 and sd <= ROUNDING * float(np.abs(values).max()):
        sd = 0.0
    mean = float(values.mean()) if n else UNDEFINED
    return Number(subject=subject, mean=mean, sd=sd, n=n, unit=unit)


@attrs.frozen(kw_only=True)
class Statement:
    """A statement about numbers that were judged."""

    numbers: Sequence[Number] = ()  # without numbers, the statement is not measured
    every: bool = True  # whether it is about every number, or about at least one
    same: bool = False  # whether it says that differences are within a margin
    family: int = 0  # how many tests the p-values are corrected for; 0: not corrected
    by_slope: str = ""  # the verdict by the slope, if the statement is about a change
    notes: tuple[str, ...] = ()  # further sentences about the statement
    missing: str = ""  # the command that measures the numbers, if there are none


@attrs.frozen
class Decision:
    """The verdict on a statement, and the number that decides it."""

    verdict: str
    number: Number | None = None
    p: float = UNDEFINED
    tests: int = 0


def decide(statement: Statement) -> Decision:
    """Return the verdict on a statement; see the docstring of the module.

    The deciding number is the number that shows the verdict. For an undecided statement
    about every number, it is the number with the largest `p_for`. For an undecided
    statement about at least one number, it is the number with the smallest `p_for`.
    """
    tested = [number for number in statement.numbers if number.tested]
    if not tested:
        return Decision(UNMEASURED)
    complete = len(tested) == len(statement.numbers)
    p_for = np.array([number.p_for for number in tested])
    p_against = np.array([number.p_against for number in tested])
    if not statement.family:
        if statement.every:
            p_against = holm(p_against)
        else:
            p_for = holm(p_for)
    # One number alone can show the first verdict. The second verdict needs every
    # number, so it is impossible if a number is not tested.
    if statement.every:
        one, each = (CONTRADICTED, p_against), (SUPPORTED, p_for)
    else:
        one, each = (SUPPORTED, p_for), (CONTRADICTED, p_against)
    if one[1].min() < LEVEL:
        verdict, p, i = one[0], one[1], int(one[1].argmin())
    elif complete and each[1].max() < LEVEL:
        verdict, p, i = each[0], each[1], int(each[1].argmax())
    else:
        verdict, p = UNDECIDED, p_for
        i = int(p.argmax() if statement.every else p.argmin())
    return Decision(verdict, tested[i], float(p[i]), statement.family or len(tested))
