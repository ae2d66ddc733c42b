"""The winner against the best baseline as sheets of text: chosen, and confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.comparing.compare import CHOSEN_BY
from analysis.statistics.metrics import find_metric
from analysis.tables.accuracy import name_seeds
from analysis.tables.comparison_table import plain_rows, tell_count, tell_measured
from analysis.tables.formats import Column, Sheet


def winner_sheets(
    won: pd.DataFrame, data: pd.DataFrame, baseline: str
) -> Iterator[Sheet]:
    """Yield a sheet of how the winners of each study do, chosen and confirmed."""
    for study in dict.fromkeys(data["study"]):
        rows = plain_rows(won[won["study"] == study]) if len(won) else []
        columns = [
            *(Column(name) for name in ("problem", "winner", "baseline", "metric")),
            Column("seeds"),
            Column("n", right=True),
            Column("difference", right=True),
            Column("effect", "d_z", right=True),
            Column("p", right=True),
            Column("p", "Holm", right=True),
            Column("verdict"),
        ]
        yield Sheet(
            f"study {study}: the winner against the best {baseline}, "
            "on seeds that did not choose it",
            "chosen by mean accuracy; the choosing seeds, on which it looks too good, "
            "stand beside them for comparison",
            columns,
            [_winner_cells(row) for row in rows],
            [*_winner_notes(rows, str(study), data[data["study"] == study])],
        )


def _winner_cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a winner on one of its two sets of seeds."""
    metric = find_metric(row["metric"])
    unit = "pp/100 tasks" if metric.per_task else "pp"
    choosing = row["against"] == "choosing"
    return [
        row["problem"],
        row["label"],
        row["baseline_label"],
        f"{row['metric'].replace('_', ' ')} ({unit})",
        row["against"],
        tell_count(row),
        *tell_measured(row, metric)[2:],
        "chosen" if choosing else row["verdict"],
    ]


def _winner_notes(
    rows: list[dict[str, Any]], study: str, data: pd.DataFrame
) -> Iterator[str]:
    """Yield which seeds chose, and how to get some that did not."""
    for row in rows:
        if row["metric"] == CHOSEN_BY:
            said = name_seeds(row["paired_seeds"]) if row["pairs"] else "no seeds yet"
            yield f"{row['problem']}: {row['label']}, {row['against']}: {said}."
    confirming = [row for row in rows if row["against"] == "confirming"]
    if any(row["metric"] == CHOSEN_BY and not row["pairs"] for row in confirming):
        yield (
            "A winner has no seeds yet that did not choose it: python -m study.sweep "
            f"{study} --confirm-seeds 10 runs ten more of it and of the best baseline."
        )
    for row in confirming:
        if row["missing_seeds"]:
            metric, seeds = row["metric"], name_seeds(row["missing_seeds"])
            yield (
                f"{row['problem']}: {row['label']} or {row['baseline_label']} has no "
                f"{metric.replace('_', ' ')} of {seeds}."
            )
    for problem in dict.fromkeys(data["problem"]):
        if all(row["problem"] != problem for row in rows):
            yield (
                f"{problem}: nothing can be chosen, for no setting (or no baseline of "
                "its own) has a whole run of every seed that all settings have."
            )
