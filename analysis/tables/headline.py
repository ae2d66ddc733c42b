"""The result of a comparison in two sentences for each problem: level and trend."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.comparing.compare import Question
from analysis.records.runs import plain_rows
from analysis.statistics.metrics import Metric
from analysis.tables.cautions import cautions
from analysis.tables.formats import Row
from analysis.tables.words import (
    LONGEST,
    best_words,
    count_range,
    metric_cell,
    name_seeds,
    unit_of_difference,
    unit_of_level,
    write_difference,
    write_p,
    write_value,
)

CONCLUSIONS = {
    "the same": "the same within {margin}",
    "flatter, level open": "flatter, but the level is possibly lower",
    "n/a": "not testable, because the difference is the same with every seed",
}
"""The words for a verdict after "is" or "are"; other verdicts are used as they are."""


def headlines(winners: pd.DataFrame, question: Question) -> list[str]:
    """Return for each problem how the best of each method compares with the baseline.

    `winners` is as `analysis.comparing.compare.confirm` returns it for the question.
    """
    if winners.empty:
        best = best_words(question.baseline, question.metric)
        return [
            f"No setting can be compared with {best}: no setting has complete runs of "
            "all seeds that choose the best one. Run the sweep again to complete the "
            "runs."
        ]
    judged = winners[winners["against"] != "choosing"]
    several = len(judged["study"].unique()) > 1
    lines = []
    groups = judged.groupby(["study", "problem", "baseline_id"], sort=False)
    for (study, problem, _), part in groups:
        stream = f"{problem}, study {study}" if several else str(problem)
        lines.append(f"{stream}: {_headline(plain_rows(part), question)}")
    return lines


def _headline(rows: Sequence[Row], question: Question) -> str:
    """Return the sentences on all methods that have the same best baseline."""
    metric, baseline = question.metric, rows[0]["baseline_label"]
    best = best_words(question.baseline, metric)
    if all(row["verdict"] == "at chance" for row in rows):
        names = _list([row["label"] for row in rows])
        return (
            f"no network learned more than chance: neither {best} ({baseline}) nor "
            f"{names}."
        )
    compared = [row for row in rows if not _obstacle(row, metric)]
    sentences = []
    if compared:
        counts = count_range(row["pairs"] for row in compared)
        sentences.append(
            f"against {best} ({baseline}, {_level(compared[0], metric)}), "
            f"{_verdicts(compared, question)}, over {counts} seeds that took no part "
            "in the choice"
        )
        sentences += _trends(compared, metric)
    sentences += [
        f"{row['label']} is not compared: {_obstacle(row, metric)}"
        for row in rows
        if row not in compared
    ]
    return ". ".join(sentences) + "."


def _level(row: Row, metric: Metric) -> str:
    level, unit = metric_cell("baseline_mean", metric)(row), unit_of_level(metric)
    if unit in metric.words:  # a return of 200 needs no unit
        return f"{metric.words} {level}"
    return f"{metric.words} {level}{'' if unit == '%' else ' '}{unit}"


def _verdicts(rows: Sequence[Row], question: Question) -> str:
    """Return the methods that have each verdict, with their differences, as text."""
    metric = question.metric
    unit = unit_of_difference(metric)
    margin = f"{write_value(question.margin, metric)} {unit}"
    groups: dict[str, list[str]] = {}
    for row in rows:
        numbers = f"{write_difference(row, metric)} {unit}"
        if row["p_holm"] is not None:
            numbers += f", corrected p = {write_p(row['p_holm'])}"
        if row["verdict"] == "undecided" and row["detectable"] is not None:
            detectable = metric_cell("detectable", metric)(row)
            numbers += f", detectable {detectable} {unit}"
        groups.setdefault(row["verdict"], []).append(f"{row['label']} ({numbers})")
    clauses = []
    for verdict, names in groups.items():
        words = CONCLUSIONS.get(verdict, verdict).format(margin=margin)
        clauses.append(f"{_list(names)} {'is' if len(names) == 1 else 'are'} {words}")
    return "; ".join(clauses)


def _trends(rows: Sequence[Row], metric: Metric) -> list[str]:
    """Return a sentence on the change along the stream, if the metric is an accuracy.

    The sentence says "more" or "less" only if both settings gain or both lose.
    """
    if metric.trend or not metric.higher or rows[0]["beside_setting"] is None:
        return []
    if not metric.relative and any(cautions(rows)):
        return []  # the change would compare levels that are not alike
    unit = unit_of_difference(metric)

    def change(value: float) -> str:
        verb = "gains" if value >= 0 else "loses"
        return f"{verb} {write_value(abs(value), metric)} {unit}"

    names = [f"{rows[0]['baseline_label']} {change(rows[0]['beside_baseline'])}"]
    for row in rows:
        own, base = row["beside_setting"], row["beside_baseline"]
        lo, hi = row["beside_lo"], row["beside_hi"]
        note = ""
        if lo is None or lo <= 0 <= hi:
            note = " (no difference was detected)"
        elif (own < 0) == (base < 0):
            note = " (more)" if abs(own) > abs(base) else " (less)"
        names.append(f"{row['label']} {change(own)}{note}")
    return [f"Along the stream, {_list(names)}"]


def _obstacle(row: Row, metric: Metric) -> str:
    """Return why a method is not compared; empty if it is compared."""
    if row["verdict"] == "diverged":
        which = row["diverged_seeds"] or row["baseline_diverged_seeds"]
        setting = "it" if row["diverged_seeds"] else row["baseline_label"]
        return f"{setting} diverged with {name_seeds(which)}"
    if row["verdict"] == "at chance":
        return f"neither it nor {row['baseline_label']} learned more than chance"
    if row["pairs"] < 2:
        return "a comparison needs two seeds that took no part in the choice"
    if row["difference"] is None:
        return f"the {metric.words} of such a short stream is undefined"
    return ""


def _list(names: Sequence[str]) -> str:
    """Return at most `LONGEST` names as text.

    >>> _list(["a"]), _list(["a", "b"]), _list(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    if len(names) > LONGEST:
        names = [*names[:LONGEST], f"{len(names) - LONGEST} more"]
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
