"""The comparison with a baseline as text: every setting, and the winners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.comparing.compare import AGAINST, CHOSEN_BY
from analysis.records.runs import show, varying_columns
from analysis.statistics.metrics import Metric, find_metric
from analysis.tables.formats import Column, Sheet
from analysis.tables.words import (
    ALWAYS,
    LONGEST,
    PER,
    name_seeds,
    percent,
    percent_interval,
    plain_rows,
    setting_columns,
)

TESTED = [
    Column("effect", "d_z", right=True),
    Column("p", right=True),
    Column("p", "Holm", right=True),
    Column("verdict"),
]


def comparison_sheets(data: pd.DataFrame, baseline: str) -> Iterator[Sheet]:
    """Yield a sheet for each study, problem and kind of baseline of a `compare`."""
    for (study, problem), part in data.groupby(["study", "problem"], sort=False):
        for against in AGAINST:
            rows = plain_rows(part[part["against"] == against])
            yield _sheet(f"{problem}, study {study}", rows, baseline)


def _sheet(title: str, rows: list[dict[str, Any]], baseline: str) -> Sheet:
    metric = find_metric(rows[0]["metric"])
    unit = unit_of(metric)
    level = unit if metric.relative or metric.per_task else "%"
    names = setting_columns(rows, "label")
    settings = [{name: row[name] for name in names} for row in rows]
    differing = [name for name in varying_columns(settings) if name not in ALWAYS]
    named = [n for n in (*ALWAYS, *differing) if any(r[n] is not None for r in rows)]
    matched = rows[0]["against"] == "matched"
    best = sorted({row["baseline_label"] for row in rows if row["baseline_label"]})
    several = not matched and len(best) > 1
    if matched:
        opponent = f"{baseline} with all else equal"
    elif len(best) == 1:
        opponent = f"the best {baseline}, {best[0]}"
    else:
        opponent = f"the best {baseline}"
    columns = [
        *(Column(name, right=name != "optimizer") for name in named),
        *([Column("baseline")] if several else []),
        Column("n", right=True),
        Column("setting", level, right=True),
        Column("baseline's" if several else "baseline", level, right=True),
        Column("difference", unit, right=True),
        *TESTED,
    ]
    cells = [
        [
            *(show(row[name]) for name in named),
            *([row["baseline_label"] or "none"] if several else []),
            _pairs(row),
            *_means(row, metric),
            *_test(row, metric),
            row["verdict"],
        ]
        for row in rows
    ]
    better = "higher" if metric.higher else "lower"
    name = rows[0]["metric"].replace("_", " ")
    return Sheet(
        f"{title}: against {opponent}",
        f"{name}: {metric.definition} ({better} is better)",
        columns,
        cells,
        [*_notes(rows, baseline)],
    )


def unit_of(metric: Metric) -> str:
    """Return the unit of a difference in a metric, as tables write it."""
    return "pp/100 tasks" if metric.per_task else "pp"


def _pairs(row: dict[str, Any]) -> str:
    """Return the number of pairs, and of the seeds that could have made one."""
    columns = ("diverged_seeds", "baseline_diverged_seeds", "missing_seeds")
    lost = {seed for name in columns for seed in row[name].split()}
    total = row["pairs"] + len(lost)
    return f"{row['pairs']} of {total}" if lost else str(row["pairs"])


def _means(row: dict[str, Any], metric: Metric) -> list[str]:
    scale = PER if metric.per_task else 1
    means = (row["mean"], row["baseline_mean"])
    return [percent(None if mean is None else scale * mean) for mean in means]


def _test(row: dict[str, Any], metric: Metric) -> list[str]:
    """Return the cells of the difference, the effect size and the p-values."""
    interval = {"d": row["difference"], "d_lo": row["lo"], "d_hi": row["hi"]}
    difference = percent_interval(interval, "d", PER if metric.per_task else 1)
    effect = "n/a" if row["effect"] is None else f"{row['effect']:.2f}"
    return [difference, effect, write_p(row["p"]), write_p(row["p_holm"])]


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


def _notes(rows: list[dict[str, Any]], baseline: str) -> Iterator[str]:
    """Yield which seeds are not compared, and why; each setting once."""
    notes: dict[str, list[str]] = {"diverged": [], "missing": [], "no baseline": []}
    for row in rows:
        label, opponent = row["label"], row["baseline_label"]
        if row["baseline_diverged_seeds"]:
            seeds = name_seeds(row["baseline_diverged_seeds"])
            notes["diverged"].append(f"The baseline {opponent} diverged with {seeds}.")
        if row["against"] == "best":
            continue
        if row["diverged_seeds"]:
            seeds = name_seeds(row["diverged_seeds"])
            notes["diverged"].append(f"{label} diverged with {seeds}.")
        if row["missing_seeds"]:
            seeds = name_seeds(row["missing_seeds"])
            line = f"{label} or its baseline has no complete run of {seeds}."
            notes["missing"].append(line)
        if opponent is None:
            line = f"{label} has no single {baseline} baseline with all else equal."
            notes["no baseline"].append(line)
    for kind, lines in notes.items():
        lines = list(dict.fromkeys(lines))
        yield from lines[:LONGEST]
        if len(lines) > LONGEST:
            more = f"{len(lines) - LONGEST} more settings ({kind})"
            yield f"The same is true of {more}: --format csv lists them."
    if rows[0]["against"] == "best" and any(not row["baseline_id"] for row in rows):
        yield (
            f"baseline none: no {baseline} setting has a complete run of every seed "
            "that all settings have."
        )


def winner_sheets(
    winners: pd.DataFrame, data: pd.DataFrame, baseline: str
) -> Iterator[Sheet]:
    """Yield a sheet per study: each winner on choosing and on confirming seeds.

    Args:
        winners: As `analysis.comparing.compare.confirm` returns them.
        data: As `analysis.comparing.compare.compare` returns it.
        baseline: The baseline's name.
    """
    for study in dict.fromkeys(data["study"]):
        own = plain_rows(winners[winners["study"] == study]) if len(winners) else []
        yield Sheet(
            f"study {study}: the winner against the best {baseline}, "
            "on seeds that did not choose it",
            "chosen by mean accuracy; the choosing seeds overstate the winner and are "
            "shown for comparison",
            [
                *(Column(n) for n in ("problem", "winner", "baseline", "metric")),
                Column("seeds"),
                Column("n", right=True),
                Column("difference", right=True),
                *TESTED,
            ],
            [_winner_cells(row) for row in own],
            [*_winner_notes(own, str(study), data[data["study"] == study])],
        )


def _winner_cells(row: dict[str, Any]) -> list[str]:
    metric = find_metric(row["metric"])
    return [
        row["problem"],
        row["label"],
        row["baseline_label"],
        f"{row['metric'].replace('_', ' ')} ({unit_of(metric)})",
        row["against"],
        _pairs(row),
        *_test(row, metric),
        "chosen" if row["against"] == "choosing" else row["verdict"],
    ]


def _winner_notes(
    rows: list[dict[str, Any]], study: str, data: pd.DataFrame
) -> Iterator[str]:
    """Yield which seeds chose the winners, and how to run others."""
    for row in rows:
        if row["metric"] == CHOSEN_BY:
            seeds = name_seeds(row["paired_seeds"]) if row["pairs"] else "no seeds yet"
            yield f"{row['problem']}: {row['label']}, {row['against']}: {seeds}."
    confirming = [row for row in rows if row["against"] == "confirming"]
    if any(row["metric"] == CHOSEN_BY and not row["pairs"] for row in confirming):
        yield (
            f"A winner has no confirming seeds yet: python -m study.sweep {study} "
            "--confirm-seeds 10 runs ten for it and ten for the best baseline."
        )
    for row in confirming:
        if row["missing_seeds"]:
            metric, seeds = row["metric"].replace("_", " "), row["missing_seeds"]
            yield (
                f"{row['problem']}: {row['label']} or {row['baseline_label']} has no "
                f"{metric} of {name_seeds(seeds)}."
            )
    for problem in dict.fromkeys(data["problem"]):
        if all(row["problem"] != problem for row in rows):
            yield (
                f"{problem}: there is no winner, because no setting (or no baseline of "
                "one) has a complete run of every seed that all settings have."
            )
