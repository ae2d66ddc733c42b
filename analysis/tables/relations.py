"""Print how probes correlate with accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.comparing.relations import ALL, BETWEEN, LEAST, OUTCOME, relation
from analysis.records.load import load_records
from analysis.tables.formats import FORMATS, Column, Sheet
from analysis.tables.printing import print_sheets
from trainables.record import REAL
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
    choose("format", format, [*FORMATS, "csv"])
    if skip < 0:
        raise UsageError(f"--skip is {skip}: it must be a whole number, at least 0")
    records = load_records(results, [OUTCOME, *probes], where)
    measures = [
        name
        for name, column in records.columns.items()
        if column.role == "measure" and column.type == REAL and name != OUTCOME
    ]
    for probe in probes:
        choose("probe", probe, measures)
    data = relation(records.to_frame(), probes, skip)
    print_sheets(data, relation_sheets(data), EXPLANATION, format)


def relation_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each study, problem and probe of a `relation`."""
    keys = ["study", "problem", "dataset", "tasks", "probe"]
    columns = [
        Column("setting"),
        *(
            Column(name, right=True)
            for name in ("seeds", "over", "spearman", "given the task")
        ),
    ]
    sheets = []
    for (study, problem, dataset, tasks, probe), part in data.groupby(keys, sort=False):
        rows = [_cells(row) for row in part.to_dict("records")]
        notes = []
        if part.loc[part["label"] == ALL, "points"].max() < LEAST:
            notes.append(
                f"{probe} was measured on too few tasks: run the study with "
                "--landscape-every 1 for all of them."
            )
        title = f"{probe} and {OUTCOME}, {problem}, study {study}"
        caption = f"dataset {dataset}, tasks {tasks}"
        sheets.append(Sheet(title, caption, columns, rows, notes))
    return sheets


def _cells(row: Mapping[Any, Any]) -> list[str]:
    between = row["label"] == BETWEEN
    incomplete = not pd.isna(row["expected"]) and row["runs"] < row["expected"]
    return [
        row["label"],
        f"{row['runs']} of {int(row['expected'])}" if incomplete else str(row["runs"]),
        f"{row['points']} {'settings' if between else 'tasks'}",
        _mean_and_half(row, "spearman"),
        "" if between else _mean_and_half(row, "partial"),
    ]


def _mean_and_half(row: Mapping[Any, Any], name: str) -> str:
    mean, half = row[name], (row[f"{name}_hi"] - row[f"{name}_lo"]) / 2
    if pd.isna(mean):
        return "n/a"
    return f"{mean + 0.0:.2f} ± {'n/a' if pd.isna(half) else f'{half:.2f}'}"
