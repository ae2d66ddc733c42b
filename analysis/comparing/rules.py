"""Rules that judge the claims of the paper: a function per claim.

A rule returns a `Statement` on a stream of tasks. These choices keep a verdict from
saying too much:

- A trend is judged by the paper's own measure, the mean change of accuracy from task to
  task, times (tasks - 1). Only the first and the last task count in it. So the
  statement is also judged by the slope, and both verdicts are shown.
- "No effect" and "similar" need differences that are shown to lie within a margin. That
  no difference was found is not enough.
- Methods are compared at the same learning rate: otherwise the learning rate would
  decide.
- An equal or smaller loss of plasticity is evidence in favor of a setting only if its
  late accuracy is shown not to be lower: a network that never learns loses nothing.
- A setting is not tested if one of its runs diverged, because the other runs are no
  fair sample. The trend of a network that learned no more than chance is not tested
  either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from analysis.comparing.chance import at_chance
from analysis.comparing.compare import MARGIN
from analysis.comparing.evidence import (
    CORRELATION,
    FACTOR,
    INFINITE,
    POINTS_OVER_STREAM,
    Number,
    Region,
    Statement,
    decide,
    number_of,
)
from analysis.comparing.relations import ALL, relation
from analysis.comparing.streams import Stream, quote
from analysis.comparing.verdicts import LOWER
from analysis.records.runs import Reals, Runs, matrices
from analysis.statistics.intervals import t_quantile
from analysis.statistics.metrics import METRICS, Metric
from analysis.statistics.power import LEVEL

SIMILAR = 0.01
"""The margin of similar accuracy: one point."""

FLAT = float(np.log(1.1))
"""An increase of sharpness by less than 10% over the stream counts as no increase."""

UNRELATED = 0.1
"""A rank correlation between -0.1 and 0.1 counts as no correlation."""

POSITIVE, NEGATIVE = (0.0, INFINITE), (-INFINITE, 0.0)

MEASURE_ALL = "python -m study.sweep paper"
MEASURE_LANDSCAPE = "python -m study.sweep paper --landscape-every 1"
"""The commands that make the records that a claim needs."""


def no_effect(stream: Stream) -> Statement:
    """C1: no matched pair differs in plasticity loss."""

    def judge(number: Number, row: dict[Any, Any]) -> Number:
        # A significant difference contradicts the claim, even if it is small.
        p_for = number.p_inside((-MARGIN, MARGIN))
        if row["p_holm"] < LEVEL or _may_be_lower(row):
            p_for = 1.0
        p_against = 1.0 if number.note in LOWER else row["p_holm"]
        return attrs.evolve(number, p_for=p_for, p_against=p_against)

    return _plasticity_loss(stream, judge, Statement(same=True))


def may_worsen(stream: Stream) -> Statement:
    """C2: at least one matched pair has a larger plasticity loss than SGD."""

    def judge(number: Number, row: dict[Any, Any]) -> Number:
        p_for = row["p_holm"] if number.mean > 0 else 1.0
        p_against = number.p_outside((MARGIN, INFINITE))
        if p_for < LEVEL or _may_be_lower(row):
            p_against = 1.0
        return attrs.evolve(number, p_for=p_for, p_against=p_against)

    return _plasticity_loss(stream, judge, Statement(every=False))


def _may_be_lower(row: dict[Any, Any]) -> bool:
    """Return whether the late accuracy can be more than `MARGIN` below the baseline's.

    The answer is yes if the difference has no 95% interval.
    """
    return not row["beside_lo"] >= -MARGIN


def _plasticity_loss(
    stream: Stream,
    judge: Callable[[Number, dict[Any, Any]], Number],
    statement: Statement,
) -> Statement:
    """Return the statement with the differences from SGD, judged by `judge`."""
    numbers, family = [], 1
    for number, row in stream.compare(METRICS["plasticity_loss"], "sgd", MARGIN):
        if not number.untested:
            number = judge(attrs.evolve(number, note=row["verdict"]), row)
            family = int(row["tests"])
        numbers.append(number)
    return attrs.evolve(statement, numbers=numbers, family=family)


def _by_both(
    judge: Callable[[Metric], list[Number]], statement: Statement
) -> Statement:
    """Judge the change from task to task; add the verdict by the slope as a note."""
    statement, other = (
        attrs.evolve(statement, numbers=judge(METRICS[name]))
        for name in ("accuracy_change", "accuracy_slope")
    )
    slope = decide(other)
    if not slope.number:
        return statement
    note = (
        f"by the slope, in which every task counts: {slope.verdict}, "
        f"{slope.number.subject} {slope.number.text} {slope.number.unit.name}"
    )
    return attrs.evolve(statement, by_slope=slope.verdict, notes=(note,))


def _trends(
    stream: Stream, optimizer: str, metric: Metric, lr: float | None = None
) -> list[Number]:
    """Return the change of accuracy over the stream, as a number per setting."""
    numbers = []
    for runs, name in stream.named(optimizer):
        if lr in (None, runs.setting["lr"]):
            values = stream.steps * metric(runs.matrix)
            number = number_of(values, name, POINTS_OVER_STREAM)
            command = stream.command_where("table")
            numbers.append(_of_runs(number, runs, command))
    return numbers


def _of_runs(number: Number, runs: Runs, command: str) -> Number:
    """Return the number with its command and, if it cannot be tested, the reason."""
    untested = "a run diverged" if runs.diverged else ""
    if at_chance(runs):
        untested = "the setting learned no more than chance"
    if not untested and not (number.n > 1 and number.sd > 0):
        untested = "too few seeds" if number.n < 2 else "all seeds give the same value"
    return attrs.evolve(number, command=command, untested=untested)


def one_rises(stream: Stream) -> Statement:
    """C3: SGD has a positive change with at least one learning rate."""
    return _judge_trends(stream, "sgd", POSITIVE, Statement(every=False))


def fast_ones_decline(stream: Stream) -> Statement:
    """C4: SAM and GNP decline by more than the margin with the largest lr."""

    def judge(metric: Metric) -> list[Number]:
        return [
            number.judge((-INFINITE, -MARGIN))
            for optimizer in ("sam", "gnp")
            for number in _trends(stream, optimizer, metric, stream.rates(optimizer)[0])
        ]

    return _by_both(judge, Statement())


def sgd_stays(stream: Stream) -> Statement:
    """C5a: the change of every SGD setting is within the margin."""
    return _judge_trends(stream, "sgd", (-MARGIN, MARGIN), Statement(same=True))


def sam_declines(stream: Stream) -> Statement:
    """C5b: the change of every SAM setting is negative."""
    refuted = (-INFINITE, -MARGIN)
    return _judge_trends(stream, "sam", NEGATIVE, Statement(), refuted)


def _judge_trends(
    stream: Stream,
    optimizer: str,
    region: Region,
    statement: Statement,
    refuted: Region | None = None,
) -> Statement:
    def judge(metric: Metric) -> list[Number]:
        numbers = _trends(stream, optimizer, metric)
        return [number.judge(region, refuted) for number in numbers]

    return _by_both(judge, statement)


def gnp_leads(stream: Stream) -> Statement:
    """C5c: the change of GNP is above the changes of SGD and SAM with the same lr."""

    def judge(metric: Metric) -> list[Number]:
        numbers = []
        for baseline in ("sgd", "sam"):
            for number, row in stream.compare(metric, baseline, MARGIN):
                if row["optimizer"] == "gnp":
                    number = number.judge(POSITIVE, (MARGIN, INFINITE))
                    if number.tested and row["verdict"] in LOWER:
                        number = attrs.evolve(number, p_for=1.0, note=row["verdict"])
                    numbers.append(number)
        return numbers

    return _by_both(judge, Statement())


def similar_accuracy(stream: Stream) -> Statement:
    """C6: the mean accuracies of the methods with the same lr are similar."""
    metric = METRICS["mean_accuracy"]
    numbers = [
        number.judge((-SIMILAR, SIMILAR))
        for baseline in ("sgd", "sam")
        for number, _ in stream.compare(metric, baseline, SIMILAR)
    ]
    return Statement(numbers=numbers, same=True)


def sharpness_grows(stream: Stream) -> Statement:
    """C7: sharpness rises along the stream in every SGD setting."""
    settings = list(stream.named("sgd"))
    measured = matrices(stream.frame, [runs for runs, _ in settings], ["sharpness"])
    numbers = []
    for (runs, name), values in zip(settings, measured, strict=True):
        slopes = stream.steps * log_slope(values["sharpness"])
        if not np.isnan(slopes).all():
            number = number_of(slopes[~np.isnan(slopes)], name, FACTOR)
            command = _sharpness_query(stream, runs, number.n)
            number = _of_runs(number, runs, command)
            numbers.append(number.judge(POSITIVE, (FLAT, INFINITE)))
    return Statement(numbers=numbers, missing=MEASURE_LANDSCAPE)


def log_slope(values: Reals) -> Reals:
    """Return the least-squares slope of log(values) over the tasks, for each run.

    `values` has shape (runs, tasks), with NaN where a task was not measured. The result
    is NaN if fewer than three tasks were measured, or if a value is not positive.

    >>> log_slope(np.exp([[0.0, 0.5, 1.0], [0.0, np.nan, 2.0]])).tolist()
    [0.5, nan]
    """
    slopes = np.full(len(values), np.nan)
    for i, row in enumerate(values):
        tasks = np.flatnonzero(~np.isnan(row))
        if len(tasks) > 2 and row[tasks].min() > 0:
            t = tasks - tasks.mean()
            slopes[i] = t @ np.log(row[tasks]) / (t @ t)
    return slopes


def _sharpness_query(stream: Stream, runs: Runs, n: int) -> str:
    """Return the command that prints by what factor sharpness rises in one setting."""
    t = t_quantile(max(n, 2))
    conditions = [*stream.in_study, f"problem = {quote(stream.problem)}"]
    conditions += ["optimizer = 'sgd'", f"lr = {runs.setting['lr']:g}"]
    half = f"{t:.4f} * stddev(change) / sqrt(count(*))"
    query = (
        f"SELECT exp(avg(change)) AS factor, exp(avg(change) - {half}) AS lo, "
        f"exp(avg(change) + {half}) AS hi, count(*) AS seeds FROM (SELECT seed, "
        f"{stream.steps} * regr_slope(ln(CASE WHEN sharpness > 0 THEN sharpness END), "
        f"task) AS change FROM records WHERE {' AND '.join(conditions)} "
        "GROUP BY seed HAVING NOT bool_or(diverged) AND min(sharpness) > 0)"
    )
    return stream.command("sql", query)


def sharpness_predicts_nothing(stream: Stream) -> Statement:
    """C12: sharpness before a task does not predict the accuracy on the task."""
    missing = Statement(missing=MEASURE_LANDSCAPE)
    learned = {runs.setting_id for runs in stream.settings if not at_chance(runs)}
    frame = stream.frame[stream.frame["setting_id"].isin(learned)]
    if frame["start_sharpness"].isna().all():
        return missing
    data = relation(frame, ["start_sharpness"])
    row = data[data["label"] == ALL].iloc[0]
    undefined = f"{row['no_spearman']} {row['no_partial']}"
    n = int(row["runs"]) - len(undefined.split())
    # The interval is of Fisher's z, so that its ends stay between -1 and 1.
    ends = [row["partial"], row["partial_lo"], row["partial_hi"]]
    with np.errstate(divide="ignore"):
        mean, lo, hi = np.arctanh(np.array(ends, dtype=np.float64))
    if not np.isfinite([mean, lo, hi]).all() or n < 2:
        return missing
    half = (hi - lo) / 2
    number = Number(
        subject=ALL,
        mean=float(mean),
        sd=float(half / t_quantile(n) * np.sqrt(n)),
        n=n,
        unit=CORRELATION,
        command=stream.command_where("relate"),
    )
    if not number.sd > 0:
        return missing
    limit = float(np.arctanh(UNRELATED))
    # Sharpness can predict accuracy without being a cause of it, so no correlation
    # contradicts the claim.
    judged = attrs.evolve(number, p_for=number.p_inside((-limit, limit)), p_against=1.0)
    notes: tuple[str, ...] = ()
    if number.p_outside((0.0, 0.0)) < LEVEL:
        notes = (
            "sharpness predicts accuracy here: either sharpness is the cause, or "
            "something else changes both",
        )
    return Statement(numbers=[judged], same=True, notes=notes)
