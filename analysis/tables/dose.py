"""Print what the radius rho of the ascent step does to learning."""

from __future__ import annotations

import pandas as pd

from analysis.comparing.compare import Question
from analysis.comparing.dose import answers, dose
from analysis.records.load import EVERYTHING, Selection, load
from analysis.records.runs import plain_rows, show
from analysis.statistics.metrics import Metric
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import (
    metric_cell,
    unit_of_difference,
    unit_of_level,
    value_cell,
    write_difference,
    write_interval,
    write_value,
)
from trainables.usage import UsageError


def print_dose(
    results: str,
    question: Question,
    format: str = "rich",
    selection: Selection = EVERYTHING,
) -> None:
    """Print a table of what each curve shows, and a table of its values of rho.

    A curve has the settings that differ only in rho. csv prints the second table only.
    The arguments are as in `print_tables`.

    Raises:
        UsageError: The metric is a trend, there are no readable records, or nothing can
            be compared.
    """
    check_level(question.metric)
    frame = load(results, (), *selection, measure=question.metric.measure)
    data = dose(frame, question)
    print_sheets(data, dose_sheets(data, question), explain(question), format)


def check_level(metric: Metric) -> None:
    """Raise a UsageError if a metric is a trend or is relative to a fresh network."""
    if metric.trend or metric.relative:
        raise UsageError(
            f"--metric is {metric.name}, but this command needs a metric that is "
            "neither a trend along the stream nor relative to a fresh network: choose "
            "for example late_accuracy or mean_accuracy"
        )


def explain(question: Question) -> list[str]:
    """Return sentences that explain the tables."""
    metric = question.metric
    margin = f"{write_value(question.margin, metric)} {unit_of_difference(metric)}"
    return [
        "difference, slope: the setting minus SGD, which has no ascent step, with all "
        "other values equal and on the same seeds. The intervals of a curve are "
        "simultaneous: with a probability of 95%, they contain the true differences at "
        "all its values of rho. There is no correction for the number of curves.",
        f"as good up to: the largest rho for which a loss of {margin} or more is ruled "
        "out, at this rho and at all smaller values that were run. worse from: the "
        f"smallest rho that is shown to be worse, even if by less than {margin}, or "
        "with which a run diverged.",
        "detectable: the smallest true difference that is found with a probability of "
        "80%. The first table has the largest of these differences among the undecided "
        "values of rho. undecided does not mean equal.",
    ]


def dose_sheets(data: pd.DataFrame, question: Question) -> list[Sheet]:
    """Return two tables for each study and problem: the curves, and all values of rho.

    `data` is as `analysis.comparing.dose.dose` returns it.
    """
    return [
        make(f"{problem}, study {study}", part, question)
        for (study, problem), part in data.groupby(["study", "problem"], sort=False)
        for make in (_answers, _values)
    ]


def _answers(title: str, part: pd.DataFrame, question: Question) -> Sheet:
    metric = question.metric
    unit = unit_of_difference(metric)

    def tested(row: Row) -> str:
        least, most = show(row["least_rho"]), show(row["most_rho"])
        return least if row["rhos"] == 1 else f"{row['rhos']} from {least} to {most}"

    cells: Cells = {
        Column("curve"): value_cell("curve"),
        number("rho"): tested,
        number("as good up to"): value_cell("good_up_to"),
        number("worse from"): value_cell("worse_from"),
        number("better at"): lambda row: row["better_at"] or "–",
        number("detectable", unit): lambda row: (
            "–" if row["detectable"] is None else write_value(row["detectable"], metric)
        ),
    }
    caption = f"the rho up to which {metric.words} is as good as with SGD"
    return make_sheet(title, caption, cells, plain_rows(answers(part)))


def _values(title: str, part: pd.DataFrame, question: Question) -> Sheet:
    metric = question.metric
    unit = unit_of_difference(metric)
    cells: Cells = {
        Column("curve"): value_cell("curve"),
        number("rho"): value_cell("rho"),
        number("SGD", unit_of_level(metric)): metric_cell("baseline_mean", metric),
        number("difference", unit): lambda row: write_difference(row, metric),
        number("slope", f"{unit} over stream"): lambda row: write_interval(
            row, "beside", metric
        ),
        number("n"): value_cell("pairs"),
        number("detectable", unit): metric_cell("detectable", metric),
        Column("verdict"): value_cell("verdict"),
    }
    caption = f"{metric.words} and slope, minus those of SGD"
    return make_sheet(title, caption, cells, plain_rows(part))
