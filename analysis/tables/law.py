"""Print the rho at which networks fail, and the variable that best predicts it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.compare import Question
from analysis.comparing.law import EXPONENTS, FREE, NORMS, OWN, POOL, law
from analysis.records.load import EVERYTHING, Selection, load
from analysis.records.runs import plain_rows, show
from analysis.statistics.metrics import Metric
from analysis.statistics.monotone import REACH
from analysis.tables.dose import check_level
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
    percent,
    unit_of_level,
    value_cell,
    write_p,
)

P_VALUE = 0.05
"""With a larger p-value, rho is not shown to do harm."""

EXPLANATION = (
    "half lost at: the rho at which half of SGD's accuracy above chance is lost, "
    "interpolated on a logarithmic scale. 95%: two values of rho that were run; by the "
    "95% intervals, less than half is lost at the first, and more than half at the "
    "second. lost: the share that is lost with the largest rho. with rho: this rho.",
    "explained: the part of the variance of the lost shares, between settings, that "
    "one curve over the variable explains. This curve never falls, and is the same for "
    "all learning rates and batch sizes. The variable is a law if it explains about as "
    'much as "own curves", which has a curve for each learning rate and batch size. '
    "The gradient norm and the weight norm are those of SGD.",
    "without batch: the part that is explained for the settings with this batch size, "
    "by a curve that was fitted to the other settings. 1 is a perfect prediction, and "
    "0 is as good as the mean of the other settings. In brackets: how many settings "
    "are not predicted, because they are outside of the range of the fit.",
    "a, b: the exponents with which rho / (lr^a batch^b) best explains the share lost. "
    "If rho is proportional to lr^a batch^b, all learning rates and batch sizes suffer "
    "the same harm. The 95% intervals come from the jackknife. The interval over seeds "
    "holds for these learning rates and batch sizes. The interval over curves also "
    "holds for other learning rates and batch sizes.",
)


def print_law(
    results: str,
    question: Question,
    format: str = "rich",
    selection: Selection = EVERYTHING,
) -> None:
    """Print the rho at which networks fail, and how well each variable predicts it.

    csv prints the variables only. The arguments are as in `print_tables`.

    Raises:
        UsageError: The metric is a trend, there are no readable records, or nothing can
            be compared.
    """
    check_level(question.metric)
    frame = load(results, NORMS, *selection, measure=question.metric.measure)
    answer = law(frame, question)
    sheets = []
    for key, variables in answer.variables.groupby(POOL, sort=False):
        study, problem, method = key
        title = f"{problem}, {method}, study {study}"
        halves = answer.halves[(answer.halves[POOL] == list(key)).all(axis=1)]
        sheets.append(_halves(title, halves, question.metric))
        sheets += _variables(title, variables)
    print_sheets(answer.variables, sheets, EXPLANATION, format)


def _halves(title: str, part: pd.DataFrame, metric: Metric) -> Sheet:
    def ends(row: Row) -> str:
        lo, hi = row["lo"], row["hi"]
        if not np.isfinite(hi):
            return f"above {show(lo)}" if lo else "any"
        return f"{show(lo)} to {show(hi)}" if lo else f"below {show(hi)}"

    cells: Cells = {
        number("batch size"): lambda row: f"{row['batch_size']:g}",
        number("lr"): value_cell("lr"),
        number("epochs"): lambda row: f"{row['epochs']:g}",
        number("SGD", unit_of_level(metric)): metric_cell("baseline_mean", metric),
        number("half lost at", "rho"): _half,
        number("95%", "rho"): ends,
        number("lost", "%"): _lost,
        number("with rho"): value_cell("most_rho"),
    }
    return make_sheet(title, "the rho at which networks fail", cells, plain_rows(part))


def _half(row: Row) -> str:
    if row["half"] == 0:
        return f"below {show(row['least_rho'])}"
    if row["half"] == np.inf:
        return f"above {show(row['most_rho'])}"
    return f"{row['half']:.2g}"


def _lost(row: Row) -> str:
    lo, hi = row["lost_lo"], row["lost_hi"]
    return f"{percent(row['lost'])} ± {percent(None if lo is None else (hi - lo) / 2)}"


def _variables(title: str, part: pd.DataFrame) -> list[Sheet]:
    """Return the table of the variables of a pool, and the table of its exponents."""
    rows = plain_rows(part)
    first = rows[0]
    # Leave out the batch sizes that only other pools have.
    sizes = [
        name.removeprefix("without_")
        for name in first
        if "without_" in name and any(row[name] is not None for row in rows)
    ]
    cells: Cells = {
        Column("variable"): value_cell("variable"),
        number("explained"): lambda row: _part(row["explained"]),
        **{
            number("without", f"batch {size}"): partial(_without, size=size)
            for size in sizes
        },
    }
    caption = "how much of the harm one curve over the variable explains"
    notes = [
        f"{first['settings']} settings in {first['curves']} curves, {first['seeds']} "
        f"seeds. Noise is {_part(first['noise'])} of the variance.",
        *_answers(rows),
    ]
    sheets = [make_sheet(title, caption, cells, rows, notes)]
    free = next(row for row in rows if row["variable"] == FREE)
    if first["p_value"] <= P_VALUE:
        sheets.append(_exponents(title, free))
    return sheets


def _without(row: Row, size: str) -> str:
    """Return the part explained without a batch size, as in "0.91 (2)"."""
    outside = row[f"outside_{size}"]
    if outside is None:
        return "–"
    ending = f" ({outside:g})" if outside else ""
    return f"{_part(row[f'without_{size}'])}{ending}"


def _part(value: float | None) -> str:
    return "n/a" if value is None else f"{value + 0.0:.2f}"


def _exponents(title: str, free: Row) -> Sheet:
    def ends(name: str) -> str:
        lo, hi = free[f"{name}_lo"], free[f"{name}_hi"]
        return "n/a" if lo is None else f"{lo:.2f} to {hi:.2f}"

    cells: Cells = {
        Column("exponent"): lambda row: f"{row['name']}, of {row['scale']}",
        number("value"): lambda row: f"{free[row['name']]:.2f}",
        number("95%", "over seeds"): lambda row: ends(row["name"]),
        number("95%", "over curves"): lambda row: ends(f"{row['name']}_curves"),
    }
    rows = [
        {"name": name, "scale": scale.replace("_", " ")}
        for scale, name in EXPONENTS.items()
        if free.get(name) is not None
    ]
    return make_sheet(title, f"the exponents of {FREE}", cells, rows)


def _answers(rows: list[dict[str, Any]]) -> list[str]:
    """Return the sentences that say what the variables of a pool show."""
    free = next(row for row in rows if row["variable"] == FREE)
    explained = {row["variable"]: _part(row["explained"]) for row in rows}
    p_value = write_p(rows[0]["p_value"])
    if rows[0]["p_value"] > P_VALUE:
        return [
            f"rho is not shown to do harm here (p = {p_value}), so there is no law to "
            "look for."
        ]
    answers = [
        f"rho does harm (p = {p_value}). rho alone explains {explained['rho']} of the "
        f"variance, {FREE} explains {explained[FREE]}, and {OWN} explain "
        f"{explained[OWN]}."
    ]
    if free.get("a") is None:
        return answers
    if free["a_lo"] is None:
        answers.append(
            "The exponent a has no interval: there are fewer than three seeds, or the "
            f"exponent is at an end of the search, {REACH:g} or {-REACH:g}."
        )
    else:
        zero, one = (
            "ruled out" if _excluded(free, value) else "not ruled out"
            for value in (0.0, 1.0)
        )
        answers.append(
            f"Should rho follow lr? a = 0 (rho does not depend on lr) is {zero}, and "
            f"a = 1 (rho is proportional to lr) is {one}."
        )
    return answers


def _excluded(free: Row, value: float) -> bool:
    """Return whether both intervals of the exponent a exclude `value`."""
    ends = [(free[f"a{kind}_lo"], free[f"a{kind}_hi"]) for kind in ("", "_curves")]
    return all(lo is not None and not lo <= value <= hi for lo, hi in ends)
