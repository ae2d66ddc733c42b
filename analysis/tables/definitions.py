"""The definition, unit and source of every number in the tables.

This module defines the statistics. The modules of the metrics and of the records define
their own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from analysis.statistics.metrics import METRICS
from analysis.tables.formats import Column, Sheet
from analysis.tables.words import unit_of_level
from trainables.record import Column as RecordColumn

STATISTICS = (
    (
        "± (95% t-interval)",
        "half the width of the 95% interval of a mean, t(0.975; n - 1) s / sqrt(n), "
        "with s the standard deviation of n numbers. Each run gives one number, "
        "because its tasks are not independent",
        "Student 1908",
    ),
    (
        "p",
        "p-value of a two-sided paired t-test over the seeds that both settings have",
        "Student 1908",
    ),
    (
        "p (Holm)",
        "p-value corrected for the number of tests. If no setting has an effect, the "
        "chance that any test has p (Holm) below 0.05 is at most 5%",
        "Holm 1979",
    ),
    (
        "d_z",
        "mean of the paired differences divided by their standard deviation, "
        "corrected for small samples",
        "Cohen 1988; Hedges 1981",
    ),
    (
        "Spearman's correlation",
        "Pearson's correlation of the ranks, from -1 to 1",
        "Spearman 1904",
    ),
)
"""The name, the definition and the source of each statistic."""


def definition_sheets(columns: Mapping[str, RecordColumn]) -> list[Sheet]:
    """Return three sheets of definitions: metrics, measurements and statistics.

    `columns` are those of the measurements, as the records files describe them.
    """
    metrics = [
        [
            name.replace("_", " "),
            f"{metric.definition} ({'higher' if metric.higher else 'lower'} is better)",
            unit_of_level(metric),
            metric.source,
        ]
        for name, metric in METRICS.items()
    ]
    measures = [[name, c.meaning, c.unit, c.source] for name, c in columns.items()]
    statistics = [[name, meaning, "", source] for name, meaning, source in STATISTICS]
    heads = [Column(name) for name in ("number", "definition", "unit", "source")]
    return [
        Sheet("Metrics of the accuracy of a run on all tasks", "", heads, metrics),
        Sheet("Measurements of a network on a task", "", heads, measures),
        Sheet("Statistics over seeds", "", heads, statistics),
    ]
