"""The comparison with a baseline as sheets of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.comparing.compare import AGAINST
from analysis.records.runs import show, varying
from analysis.statistics.metrics import Metric, find_metric
from analysis.tables.accuracy import ALWAYS, LONGEST, PER, name_seeds, percent
from analysis.tables.formats import Column, Sheet


def comparison_sheets(data: pd.DataFrame, baseline: str) -> Iterator[Sheet]:
    """Yield a sheet for each study, problem and kind of opponent of a `compare`."""
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        for against in AGAINST:
            these = part[part["against"] == against]
            yield _sheet(f"{problem}, study {study}", these, baseline)


def _sheet(title: str, part: pd.DataFrame, baseline: str) -> Sheet:
    """Return the sheet of one kind of opponent."""
    rows = plain_rows(part)
    metric = find_metric(rows[0]["metric"])
    unit = "pp/100 tasks" if metric.per_task else "pp"
    level = unit if metric.relative or metric.per_task else "%"
    differ = varying(rows)
    named = [*ALWAYS, *(name for name in differ if name not in ALWAYS)]
    named = [n for n in named if any(row[n] is not None for row in rows)]
    opponents = sorted({row["baseline_label"] for row in rows if row["baseline_label"]})
    matched = rows[0]["against"] == "matched"
    if matched:
        opponent = f"{baseline} with all else equal"
    elif len(opponents) == 1:
        opponent = f"the best {baseline}, {opponents[0]}"
    else:
        opponent = f"the best {baseline}"
    several = not matched and len(opponents) > 1
    columns = [
        *(Column(name, right=name != "optimizer") for name in named),
        *([Column("baseline")] if several else []),
        Column("n", right=True),
        Column("setting", level, right=True),
        Column("baseline's" if several else "baseline", level, right=True),
        Column("difference", unit, right=True),
        Column("effect", "d_z", right=True),
        Column("p", right=True),
        Column("p", "Holm", right=True),
        Column("verdict"),
    ]
    cells = [
        [show(row[name]) for name in named]
        + ([row["baseline_label"] or "none"] if several else [])
        + [tell_count(row), *tell_measured(row, metric), row["verdict"]]
        for row in rows
    ]
    return Sheet(
        f"{title}: against {opponent}",
        f"{rows[0]['metric'].replace('_', ' ')}: {metric.definition} "
        f"({'higher' if metric.higher else 'lower'} is better)",
        columns,
        cells,
        [*_notes(rows, baseline)],
    )


def plain_rows(part: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain values, None where there is none."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in part.to_dict("records")
    ]


def tell_count(row: dict[str, Any]) -> str:
    """Return how many pairs there are, and of how many."""
    columns = ("diverged_seeds", "baseline_diverged_seeds", "missing_seeds")
    lost = {seed for name in columns for seed in row[name].split()}
    whole = row["pairs"] + len(lost)
    return f"{row['pairs']} of {whole}" if lost else str(row["pairs"])


def tell_measured(row: dict[str, Any], metric: Metric) -> list[str]:
    """Return the cells from the setting's metric to the corrected p-value."""
    scale = PER if metric.per_task else 1

    def tell(name: str) -> str:
        return percent(None if row[name] is None else scale * row[name])

    half = None if row["lo"] is None else scale * (row["hi"] - row["lo"]) / 2
    difference = tell("difference")
    if row["difference"] is not None:
        difference += f" ± {percent(half)}"
    effect = "n/a" if row["effect"] is None else f"{row['effect']:.2f}"
    p = [tell_p(row[name]) for name in ("p", "p_holm")]
    return [tell("mean"), tell("baseline_mean"), difference, effect, *p]


def tell_p(p: float | None) -> str:
    """Return a p-value to the digits that matter.

    >>> tell_p(0.04321), tell_p(0.0000321), tell_p(1.0), tell_p(0.0), tell_p(None)
    ('0.043', '3e-05', '1.000', '<1e-99', 'n/a')
    """
    if p is None:
        return "n/a"
    if p < 1e-99:
        return "<1e-99"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _notes(rows: list[dict[str, Any]], baseline: str) -> Iterator[str]:
    """Yield which seeds are not compared, and why; of the settings once."""
    said: dict[str, list[str]] = {"diverged": [], "missing": [], "alone": []}
    for row in rows:
        label, other = row["label"], row["baseline_label"]
        if row["baseline_diverged_seeds"]:
            seeds = name_seeds(row["baseline_diverged_seeds"])
            said["diverged"].append(f"The baseline {other} diverged with {seeds}.")
        if row["against"] == "best":
            continue
        if row["diverged_seeds"]:
            seeds = name_seeds(row["diverged_seeds"])
            said["diverged"].append(f"{label} diverged with {seeds}.")
        if row["missing_seeds"]:
            seeds = name_seeds(row["missing_seeds"])
            line = f"{label} or its baseline has no whole run of {seeds}."
            said["missing"].append(line)
        if other is None:
            line = f"{label} has no one {baseline} with all else equal."
            said["alone"].append(line)
    for fate, lines in said.items():
        lines = list(dict.fromkeys(lines))
        yield from lines[:LONGEST]
        if len(lines) > LONGEST:
            more = len(lines) - LONGEST
            yield f"So it is ({fate}) with {more} more settings: --format csv has them."
    if rows[0]["against"] == "best" and any(not row["baseline_id"] for row in rows):
        yield f"Where there is no best {baseline}, none has a whole run of every seed."
