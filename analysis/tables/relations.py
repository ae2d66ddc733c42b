"""Print how probes correlate with accuracy."""

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
    "Spearman's rank correlation of the probe with test accuracy on the task, from -1 "
    "to 1; mean over seeds ± half of its 95% t-interval; n/a: too few seeds, fewer "
    f"than {LEAST} tasks (or settings) to correlate over, or no variation.",
    "within: over the tasks of each run. given the task: the partial correlation given "
    "the task's number, in which a common drift along the stream does not count.",
    "between settings: over the settings of each seed, of their means over the tasks. "
    "Whatever differs between settings, such as the learning rate, may change both: it "
    "is no evidence of a cause if the runs of one setting show nothing.",
)


def print_relation(
    results: str,
    probes: Sequence[str],
    skip: int = 1,
    format: str = "rich",
    where: str | None = None,
) -> None:
    """Print how probes correlate with accuracy.

    Args:
        results: As for `analysis.records.load.load`.
        probes: Measurements of the records, with one number per row.
        skip: How many of the first tasks to leave out.
        format: One of `FORMATS`, or csv.
        where: A filter of the records; all if None.

    Raises:
        UsageError: A probe or the format is unknown, or there are no readable records.
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
    """Return a sheet for each study, problem and probe of a `relation`."""
    keys = ["study", "problem", "dataset", "tasks", "probe"]
    sheets = []
    for (study, problem, dataset, tasks, probe), part in data.groupby(keys, sort=False):
        title = f"{probe} and {OUTCOME}, {problem}, study {study}"
        caption, notes = f"dataset {dataset}, tasks {tasks}", []
        if part.loc[part["label"] == ALL, "points"].max() < LEAST:
            notes.append(
                f"{probe} was measured on too few tasks: run the study with "
                "--landscape-every 1 for all of them."
            )
        sheets.append(make_sheet(title, caption, CELLS, part.to_dict("records"), notes))
    return sheets


def _seeds(row: Row) -> str:
    incomplete = row["runs"] < row["expected"]  # expected is NaN between settings
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
