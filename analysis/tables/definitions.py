"""Definitions: what every number means, its unit, and where it comes from.

A metric brings its own definition and unit, a column of the records its meaning; the
sources stand here. A test sees to it that nothing is without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analysis.statistics.metrics import METRICS
from analysis.tables.formats import Column, Sheet
from trainables.record import COLUMNS, MEASURED

OURS = "this program"

FORET = "Foret et al. 2021 (arXiv 2010.01412)"
KOSTER = "Koster & Kukla 2024 (arXiv 2409.17300)"
LYLE = "Lyle et al. 2023 (arXiv 2303.01486)"
SOKAR = "Sokar et al. 2023 (arXiv 2302.12902)"
ZHAO = "Zhao et al. 2022 (arXiv 2202.03599)"
DOHARE = "Dohare et al. 2023 (arXiv 2306.13812)"

METRIC_SOURCES: dict[str, str] = {
    "accuracy_change": f"{KOSTER}, Tables 1 and 2",
    "accuracy_slope": "ordinary least squares",
    "mean_accuracy": OURS,
    "first_accuracy": OURS,
    "last_accuracy": OURS,
    "plasticity_loss": OURS,
    "accuracy_area": "the trapezoidal rule",
}

COLUMN_SOURCES: dict[str, str] = {
    "online_accuracy": DOHARE,
    "train_loss": "cross-entropy, in nats",
    "test_loss": "cross-entropy, in nats",
    "test_accuracy": KOSTER,
    "dormant_fraction": f"{DOHARE}; {SOKAR} with tau = 0",
    "dormant_fraction_tau": SOKAR,
    "effective_rank": "Roy & Vetterli 2007 (EUSIPCO)",
    "stable_rank": "Rudelson & Vershynin 2007 (arXiv math/0503442)",
    "srank": "Kumar et al. 2021 (arXiv 2010.14498)",
    "approximate_rank": "Yang et al. 2019 (arXiv 1909.12255)",
    "participation_ratio": "Gao & Ganguli 2015 (arXiv 1503.08779)",
    "weight_norm": LYLE,
    "gradient_norm": ZHAO,
    "sharpness": LYLE,
    "hessian_trace": "Hutchinson 1990",
    "hessian_trace_error": "Hutchinson 1990",
    "sam_sharpness": FORET,
    "lipschitz": f"{ZHAO}; {KOSTER}, section 2.1",
    "initial_distance": "Kumar et al. 2023 (arXiv 2308.11958)",
    "update_norm": LYLE,
    "backward_accuracy": f"{KOSTER}, Figure 1",
}
"""By column; start_X and layer_X are X's."""

STATISTICS: dict[str, tuple[str, str]] = {
    "± (95% t-interval)": (
        "half the width of mean ± t(0.975; n - 1) s / sqrt(n) over the n seeds; one "
        "number a run first, for a run's tasks are not independent",
        "Student 1908",
    ),
    "p": ("two-sided paired t-test over the seeds of both", "Student 1908"),
    "p (Holm)": (
        "corrected so that under no effect at most 5% of comparisons find one",
        "Holm 1979",
    ),
    "d_z": (
        "mean difference over its standard deviation, corrected for small samples",
        "Cohen 1988; Hedges 1981",
    ),
    "Spearman's correlation": ("Pearson's of the ranks, from -1 to 1", "Spearman 1904"),
}


def source_of(column: str) -> str:
    """Return where a measurement comes from.

    >>> source_of("start_sharpness")
    'Lyle et al. 2023 (arXiv 2303.01486)'
    """
    for prefix in ("start_", "layer_"):
        column = column.removeprefix(prefix)
    return COLUMN_SOURCES[column]


def definition_sheets(measured: Iterable[str] = MEASURED) -> list[Sheet]:
    """Return the definitions as sheets.

    Args:
        measured: The columns to tell of.
    """
    return [
        _sheet("Of a run's accuracy by task", _metrics()),
        _sheet("Of a network on a task", _columns(measured)),
        _sheet("Of several seeds", _statistics()),
    ]


def _sheet(title: str, rows: Iterable[list[str]]) -> Sheet:
    columns = [Column(name) for name in ("number", "is", "unit", "source")]
    return Sheet(title, "", columns, list(rows), [])


def _metrics() -> Iterator[list[str]]:
    for name, metric in METRICS.items():
        said = (
            f"{metric.definition} ({'higher' if metric.higher else 'lower'} is better)"
        )
        yield [name.replace("_", " "), said, metric.unit, METRIC_SOURCES[name]]


def _columns(measured: Iterable[str]) -> Iterator[list[str]]:
    for name in measured:
        unit = "fraction" if "fraction" in name or "accuracy" in name else ""
        unit = "nats" if name.endswith("loss") else unit
        yield [name, COLUMNS[name].meaning, unit, source_of(name)]


def _statistics() -> Iterator[list[str]]:
    for name, (said, source) in STATISTICS.items():
        yield [name, said, "", source]
