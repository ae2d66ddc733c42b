"""Print tables of how probes (measurements of a network) correlate with accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis.comparing.relations import ALL, BETWEEN, LEAST, OUTCOME, relation
from analysis.records.load import load_records
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import value_cell
from trainables.usage import UsageError, choose

EXPLANATION = (
    "spearman: Spearman's rank correlation of the probe (a measurement of the network) "
    "with test accuracy on the task, from -1 to 1. It is the mean over seeds ± half of "
    "its 95% t-interval. n/a: there are too few seeds, there are fewer than "
    f"{LEAST} tasks (or settings), or the values do not vary.",
    "within: each run has one correlation, over its tasks. given the task: the partial "
    "correlation given the task number. It controls for a trend along the stream that "
    "the probe and the accuracy share.",
    "between settings: each seed has one correlation, over the settings. It uses the "
    "mean over the tasks for each setting. The learning rate, for example, may change "
    "both the probe and the accuracy. So this correlation shows no cause if the "
    "correlation within runs is about 0.",
)


def print_relation(
    results: str,
    probes: Sequence[str],
    skip: int = 1,
    format: str = "rich",
    where: str | None = None,
) -> None:
    """Print how probes (measurements of a network) correlate with test accuracy.

    Args:
        results: The folder, file or URI of the records; see `load_records`.
        probes: The names of measurements with one number per record.
        skip: The number of tasks to ignore at the start of the stream.
        format: One of `FORMATS`, or csv.
        where: A filter of the records in SQL; None selects all records.

    Raises:
        UsageError: A probe or the format is unknown, `skip` is negative, or there are
            no readable records.
    """
    if skip < 0:
        raise UsageError(f"--skip is {skip}: it must be a whole number, at least 0")
    records = load_records(results, [OUTCOME, *probes], where)
    measures = [name for name in records.number_columns if name != OUTCOME]
    for probe in probes:
        choose("probe", probe, measures)
    data = relation(records.to_frame(), probes, skip)
    print_sheets(data, relation_sheets(data), EXPLANATION, format)


def relation_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return one sheet per stream of tasks and probe; `data` is from `relation`."""
    keys = ["study", "problem", "dataset", "tasks", "probe"]
    sheets = []
    for (study, problem, dataset, tasks, probe), part in data.groupby(keys, sort=False):
        title = f"{probe} and {OUTCOME}, {problem}, study {study}"
        caption, notes = f"dataset {dataset}, tasks {tasks}", []
        if part.loc[part["label"] == ALL, "points"].max() < LEAST:
            notes.append(
                f"{probe} was measured on too few tasks. To measure it on every task, "
                "run the study with --landscape-every 1."
            )
        sheets.append(make_sheet(title, caption, CELLS, part.to_dict("records"), notes))
    return sheets


def _seeds(row: Row) -> str:
    # In rows over all settings `expected` is NaN, so the comparison is False.
    incomplete = row["runs"] < row["expected"]
    return (
        f"{row['runs']} of {int(row['expected'])}" if incomplete else str(row["runs"])
    )


def _mean_and_half(row: Row, name: str) -> str:
    mean, half = row[name], (row[f"{name}_hi"] - row[f"{name}_lo"]) / 2
    if np.isnan(mean):
        return "n/a"
    return f"{mean + 0.0:.2f} ± {'n/a' if np.isnan(half) else f'{half:.2f}'}"


CELLS: Cells = {
    Column("setting"): value_cell("label"),
    number("seeds"): _seeds,
    number("over"): lambda row: (
        f"{row['points']} {'settings' if row['label'] == BETWEEN else 'tasks'}"
    ),
    number("spearman"): partial(_mean_and_half, name="spearman"),
    number("given the task"): lambda row: (
        "" if row["label"] == BETWEEN else _mean_and_half(row, "partial")
    ),
}
