"""Print tables of how probes (measurements of a network) correlate with accuracy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis.comparing.relations import ALL, BETWEEN, OUTCOME, relation
from analysis.records.load import Selection, load_records
from analysis.statistics.correlations import LEAST
from analysis.tables.formats import (
    Cells,
    Column,
    Row,
    Sheet,
    make_sheet,
    number,
    print_sheets,
)
from analysis.tables.words import first_and_count, name_seeds, shorten, value_cell
from trainables.usage import UsageError, choose

EXPLANATION = (
    "spearman: Spearman's rank correlation of the probe (a measurement of the network) "
    "with test accuracy on the task, from -1 to 1. It is the mean over seeds, and in "
    "brackets its 95% t-interval, both computed from Fisher's z. n/a: there are too "
    f"few seeds, there are fewer than {LEAST} tasks (or settings), or the values do "
    "not vary.",
    "within: each run has one correlation, over its tasks. without trend: the same "
    "after a smooth trend along the stream (a polynomial) is taken off the ranks of "
    "the probe and of the accuracy. It is about 0 for two measurements that only drift "
    "along the stream.",
    "between settings: each seed has one correlation, over the settings. It uses the "
    "mean over the tasks for each setting. The learning rate, for example, may change "
    "both the probe and the accuracy. So this correlation shows no cause if the "
    "correlation within runs is about 0.",
)

UNDEFINED = {
    "no_spearman": "The correlation is undefined for {}: {probe} or the accuracy does "
    f"not vary, or has fewer than {LEAST} values.",
    "no_partial": "The correlation without trend is undefined for {}: the trend leaves "
    "nothing of {probe} or of the accuracy. This happens if one of them rises, or "
    "falls, at every task.",
}
"""The notes on seeds that have no correlation, by the column that names the seeds."""


def print_relation(
    results: str,
    probes: Sequence[str],
    skip: int = 1,
    format: str = "rich",
    selection: Selection | None = None,
) -> None:
    """Print how probes (measurements of a network) correlate with test accuracy.

    Args:
        results: The folder, file or URI of the records; see `load_records`.
        probes: The names of measurements with one number per record.
        skip: The number of tasks to ignore at the start of the stream.
        format: One of `FORMATS`, or csv.
        selection: The records to use; None means all.

    Raises:
        UsageError: A probe or the format is unknown, `skip` is negative, or there are
            no readable records.
    """
    if skip < 0:
        raise UsageError(f"--skip is {skip}: it must be a whole number, at least 0")
    selection = selection or Selection()
    columns = [OUTCOME, *probes]
    records = load_records(results, columns, selection.where, selection.tasks)
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
        caption, rows = f"dataset {dataset}, tasks {tasks}", part.to_dict("records")
        if part.loc[part["label"] == ALL, "points"].max() < LEAST:
            notes = [
                f"{probe} was measured on too few tasks. To measure it on every task, "
                "run the study with --landscape-every 1."
            ]
        else:
            notes = [
                note for name in UNDEFINED for note in _notes(rows, name, str(probe))
            ]
        sheets.append(make_sheet(title, caption, CELLS, rows, notes))
    return sheets


def _notes(rows: Sequence[Row], name: str, probe: str) -> list[str]:
    """Return notes on the seeds that a column names: one per set of seeds."""
    labels: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for row in rows:
        seeds, every = row[name], len(row[name].split()) == row["runs"]
        # The row of all settings repeats its settings. That too few settings can be
        # compared is seen from the number of settings.
        repeats = row["label"] == ALL or (row["label"] == BETWEEN and every)
        if seeds and not repeats:
            labels[every, seeds].append(row["label"])
    settings = sum(row["label"] not in (ALL, BETWEEN) for row in rows)
    notes = []
    for (every, seeds), names in labels.items():
        which = "every seed" if every else name_seeds(seeds)
        of = "all settings" if len(names) == settings else first_and_count(names)
        notes.append(UNDEFINED[name].format(f"{which} of {of}", probe=probe))
    return shorten(notes)


def _seeds(row: Row) -> str:
    # In rows over all settings `expected` is NaN, so the comparison is False.
    incomplete = row["runs"] < row["expected"]
    return (
        f"{row['runs']} of {int(row['expected'])}" if incomplete else str(row["runs"])
    )


def _mean_and_ends(row: Row, name: str) -> str:
    mean, lo, hi = (row[name + end] for end in ("", "_lo", "_hi"))
    if np.isnan(mean):
        return "n/a"
    ends = "n/a" if np.isnan(lo) else f"{lo + 0.0:.2f} to {hi + 0.0:.2f}"
    left_out = len(row["no_spearman"].split())
    if name == "partial":
        left_out += len(row["no_partial"].split())
    seeds = row["runs"] - left_out
    few = f", {seeds} seed{'s' * (seeds != 1)}" if left_out else ""
    return f"{mean + 0.0:.2f} ({ends}{few})"


CELLS: Cells = {
    Column("setting"): value_cell("label"),
    number("seeds"): _seeds,
    number("over"): lambda row: (
        f"{row['points']} {'settings' if row['label'] == BETWEEN else 'tasks'}"
    ),
    number("spearman"): partial(_mean_and_ends, name="spearman"),
    number("without trend"): lambda row: (
        "" if row["label"] == BETWEEN else _mean_and_ends(row, "partial")
    ),
}
