"""Definitions: the meaning, unit and source of every number.

Metrics and the columns of the records bring their own; statistics stand here.
"""

from __future__ import annotations

from collections.abc import Mapping

from analysis.statistics.metrics import METRICS
from analysis.tables.formats import Column, Sheet
from trainables.record import Column as RecordColumn

STATISTICS = (
    (
        "± (95% t-interval)",
        "half the width of mean ± t(0.975; n - 1) s / sqrt(n) over the n seeds; each "
        "run gives one number first, because its tasks are not independent",
        "Student 1908",
    ),
    ("p", "two-sided paired t-test over the shared seeds", "Student 1908"),
    (
        "p (Holm)",
        "corrected so that without any effect at most 5% of comparisons show one",
        "Holm 1979",
    ),
    (
        "d_z",
        "mean difference over its standard deviation, corrected for small samples",
        "Cohen 1988; Hedges 1981",
    ),
    (
        "Spearman's correlation",
        "Pearson's correlation of the ranks, from -1 to 1",
        "Spearman 1904",
    ),
)
"""The name, the definition and the source of each."""


def definition_sheets(columns: Mapping[str, RecordColumn]) -> list[Sheet]:
    """Return the definitions of metrics, of measurements and of statistics.

    `columns` are the measurements, as the records' files describe them.
    """
    metrics = [
        [
            name.replace("_", " "),
            f"{metric.definition} ({'higher' if metric.higher else 'lower'} is better)",
            metric.unit,
            metric.source,
        ]
        for name, metric in METRICS.items()
    ]
    measures = [[name, c.meaning, c.unit, c.source] for name, c in columns.items()]
    statistics = [[name, meaning, "", source] for name, meaning, source in STATISTICS]
    heads = [Column(name) for name in ("number", "definition", "unit", "source")]
    return [
        Sheet("Metrics of a run's accuracy by task", "", heads, metrics),
        Sheet("Measurements of a network on a task", "", heads, measures),
        Sheet("Statistics over seeds", "", heads, statistics),
    ]
