"""The result of a comparison in sentences: one for each method of each problem."""

from __future__ import annotations

import pandas as pd

from analysis.comparing.compare import Question
from analysis.records.runs import plain_rows
from analysis.statistics.metrics import Metric
from analysis.tables.formats import Row
from analysis.tables.words import (
    name_seeds,
    unit_of_difference,
    unit_of_level,
    write_difference,
    write_p,
    write_value,
)


def headlines(winners: pd.DataFrame, question: Question) -> list[str]:
    """Return for each method how its best setting compares with the best baseline.

    Args:
        winners: The rows of `analysis.comparing.compare.confirm`.
        question: The question that these rows answer.
    """
    if winners.empty:
        return [
            f"Nothing can be compared with {question.baseline}: no setting has a "
            "complete run of every seed."
        ]
    rows = plain_rows(winners[winners["against"] != "choosing"])
    return [_headline(row, question.metric) for row in rows]


def _headline(row: Row, metric: Metric) -> str:
    label, baseline = row["label"], row["baseline_label"]
    start = f"{row['problem']}: {label}"
    if row["verdict"] == "diverged":
        which = row["diverged_seeds"] or row["baseline_diverged_seeds"]
        who = label if row["diverged_seeds"] else baseline
        return f"{start} is not compared: {who} diverged with {name_seeds(which)}."
    if row["pairs"] < 2:
        return f"{start} is not compared: a comparison needs two seeds that judge."
    unit = unit_of_difference(metric)
    steps = metric.steps(row["tasks"])
    own, base = (
        f"{write_value(steps * row[name], metric)} {unit_of_level(metric)}".replace(
            " %", "%"
        )
        for name in ("mean", "baseline_mean")
    )
    return (
        f"{start} has a {metric.words} of {own}, {baseline} has {base}. The difference "
        f"is {write_difference(row, metric)} {unit} over {row['pairs']} seeds that did "
        f"not choose them: {_conclusion(row, metric)}.{_trends(row, metric)}"
    )


def _conclusion(row: Row, metric: Metric) -> str:
    """Return what the difference shows, and what it could have shown."""
    unit = unit_of_difference(metric)
    if row["verdict"] == "the same":
        return "the two are the same within the margin"
    if row["p_holm"] is None:
        return "not testable, because all seeds differ by the same amount"
    if row["verdict"] != "undecided":
        return f"{row['verdict']} (p = {write_p(row['p_holm'])} after correction)"
    detectable = write_value(metric.steps(row["tasks"]) * row["detectable"], metric)
    return (
        f"undecided (p = {write_p(row['p_holm'])} after correction; a true difference "
        f"of {detectable} {unit} would have been found with a probability of 80%)"
    )


def _trends(row: Row, metric: Metric) -> str:
    """Return how both change along the stream, beside a level of the accuracy.

    "loses" is never said of a setting that gains.
    """
    own, base = row["beside_setting"], row["beside_baseline"]
    if metric.trend or not metric.higher or own is None:
        return ""
    unit = unit_of_difference(metric)
    words = [
        f"{verb} {write_value(abs(change), metric)} {unit}"
        for change in (own, base)
        for verb in ("gains" if change >= 0 else "loses",)
    ]
    lo, hi = row["beside_lo"], row["beside_hi"]
    if lo is None or lo <= 0 <= hi:
        ending = "; the trends do not differ detectably"
    elif own >= 0 and base >= 0:
        ending = ", so it gains less" if own < base else ", so it gains more"
    elif own < 0 and base < 0:
        ending = ", so it loses more" if own < base else ", so it loses less"
    else:
        ending = ""
    return (
        f" Along the stream {row['label']} {words[0]} and {row['baseline_label']} "
        f"{words[1]}{ending}."
    )
