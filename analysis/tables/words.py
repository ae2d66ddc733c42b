"""Format numbers, seeds and settings as text for tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from analysis.records.runs import show
from analysis.statistics.metrics import MEASURES, Metric
from analysis.tables.formats import Row
from trainables.request import seeds_text

ALWAYS = ("optimizer", "lr", "rho", "alpha")
"""The columns of a setting that every table shows."""

LONGEST = 12
"""The maximum number of names in a note. The note counts the other names."""


def percent(fraction: float | None) -> str:
    """Return a fraction as text in percent. A zero has no minus sign.

    >>> percent(0.91234), percent(-1e-9), percent(None)
    ('91.23', '0.00', 'n/a')
    """
    return _write(fraction, 100)


def _write(value: float | None, scale: float) -> str:
    if value is None or np.isnan(value):
        return "n/a"
    digits = 2 if scale == 100 else 3
    return f"{np.round(scale * value, digits) + 0.0:.{digits}f}"


def baseline_words(baseline: str) -> str:
    """Return the name of a baseline in text.

    >>> baseline_words("none"), baseline_words("sgd")
    ('no remedy', 'sgd')
    """
    return {"none": "no remedy", "plain": "no base"}.get(baseline, baseline)


def best_words(baseline: str, metric: Metric | None = None) -> str:
    """Return the name of the best setting of a baseline in text.

    The best setting is the best by level. If `metric` is not this level, the text names
    the level, because another setting can be better by `metric`.

    >>> best_words("none"), best_words("sgd")
    ('the best setting with no remedy', 'the best sgd')
    >>> from analysis.statistics.metrics import METRICS
    >>> best_words("sgd", METRICS["mean_accuracy"])
    'the sgd with the best late accuracy'
    """
    words = baseline_words(baseline)
    words = words if words == baseline else f"setting with {words}"
    if metric is None or metric == metric.level.absolute:
        return f"the best {words}"
    by = f"the best {metric.level.absolute.words}"
    return f"the {words} with {by}" if words == baseline else f"the {words}, with {by}"


def unit_of_level(metric: Metric) -> str:
    """Return the unit in which tables show the metric of a setting."""
    if metric.trend or metric.relative:
        return unit_of_difference(metric)
    return MEASURES[metric.measure].unit


def unit_of_difference(metric: Metric) -> str:
    """Return the unit in which tables show a difference of the metric.

    A rate per task is shown as the change over the whole stream: per task it would
    round to zero, and per 100 tasks it could exceed 100 points on a short stream.
    """
    unit = MEASURES[metric.measure].unit_of_difference
    return f"{unit} over stream" if metric.per_task else unit


def write_value(value: float | None, metric: Metric) -> str:
    """Return a value or a difference of a metric as text; see `unit_of_level`."""
    return _write(value, MEASURES[metric.measure].scale)


def write_interval(row: Row, name: str, metric: Metric) -> str:
    """Return a mean ± half of its interval as text, in the unit of the metric.

    The mean is in the column `name`, the ends of its interval are in the columns
    NAME_lo and NAME_hi, and the number of tasks is in the column tasks.

    >>> from analysis.statistics.metrics import find_metric
    >>> row = {"x": 0.5, "x_lo": 0.4, "x_hi": 0.6, "tasks": 20}
    >>> write_interval(row, "x", find_metric("mean_accuracy"))
    '50.00 ± 10.00'
    """
    return _interval(row[name], row[f"{name}_lo"], row[f"{name}_hi"], row, metric)


def write_difference(row: Row, metric: Metric) -> str:
    """Return the difference of a row ± half of its interval (lo, hi) as text."""
    return _interval(row["difference"], row["lo"], row["hi"], row, metric)


def _interval(
    mean: float | None, lo: float | None, hi: float | None, row: Row, metric: Metric
) -> str:
    if mean is None or np.isnan(mean):
        return "n/a"
    steps = metric.steps(row["tasks"])
    half = None if lo is None or hi is None else steps * (hi - lo) / 2
    return f"{write_value(steps * mean, metric)} ± {write_value(half, metric)}"


def write_p(p: float | None) -> str:
    """Return a p-value to the digits that matter.

    >>> write_p(0.04321), write_p(0.0000321), write_p(1.0), write_p(0.0), write_p(None)
    ('0.043', '3e-05', '1.000', '<1e-99', 'n/a')
    """
    if p is None:
        return "n/a"
    if p < 1e-99:
        return "<1e-99"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def value_cell(name: str) -> Callable[[Row], str]:
    """Return a function that returns the text of one column of a row."""
    return lambda row: show(row[name])


def metric_cell(name: str, metric: Metric) -> Callable[[Row], str]:
    """Return a function like that of `value_cell`, for a value of a metric.

    A rate per task becomes the change over the stream, whose number of tasks is in the
    column tasks. Other metrics do not need this column.
    """

    def cell(row: Row) -> str:
        value = row[name]
        if metric.per_task and value is not None:
            value = metric.steps(row["tasks"]) * value
        return write_value(value, metric)

    return cell


def name_seeds(text: str) -> str:
    """Return seeds as words. Consecutive seeds become a range.

    >>> name_seeds("4"), name_seeds("0 1 2 5")
    ('seed 4', 'seeds 0-2, 5')
    """
    seeds = [int(seed) for seed in text.split()]
    return f"seed{'s' if len(seeds) > 1 else ''} {seeds_text(seeds).replace('+', ', ')}"


def first_and_count(names: Sequence[str]) -> str:
    """Return the first `LONGEST` names as text, and the number of other names.

    >>> first_and_count(["a", "b"]), first_and_count(list("abcdefghijklmn"))[-12:]
    ('a, b', 'l and 2 more')
    """
    more = f" and {len(names) - LONGEST} more" if len(names) > LONGEST else ""
    return f"{', '.join(names[:LONGEST])}{more}"


def count_range(counts: Iterable[int]) -> str:
    """Return the smallest and the largest of some counts as text.

    >>> count_range([3, 3]), count_range([2, 5, 3])
    ('3', '2 to 5')
    """
    low, *others = sorted(set(counts))
    return f"{low} to {others[-1]}" if others else str(low)


def shorten(lines: Sequence[str], kind: str = "") -> list[str]:
    """Return the first `LONGEST` notes, and a note that counts the other notes.

    The count is followed by `kind`, for example " (diverged)".
    """
    if len(lines) <= LONGEST:
        return list(lines)
    more = f"{len(lines) - LONGEST} more such notes{kind} are left out"
    return [*lines[:LONGEST], f"{more}. --format csv prints all rows with their seeds."]


def settings_of(rows: Sequence[Row], end: str) -> list[dict[str, Any]]:
    """Return from each row the columns between the columns setting_id and `end`."""
    names = list(rows[0])
    names = names[names.index("setting_id") + 1 : names.index(end)]
    return [{name: row[name] for name in names} for row in rows]
