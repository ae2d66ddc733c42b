"""Print tables of how probes (measurements of a network) correlate with accuracy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis.comparing.relations import (
    ALL,
    BETWEEN,
    OUTCOME,
    indicators,
    lead_indicators,
    relation,
)
from analysis.records.load import EVERYTHING, Selection, load_records
from analysis.statistics.correlations import LEAST
from analysis.statistics.power import LEVEL
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
    first_and_count,
    name_seeds,
    shorten,
    value_cell,
    write_p,
)
from trainables.usage import UsageError, choose

EXPLANATION = (
    "spearman: Spearman's rank correlation of the probe (a measurement of the network) "
    "with test accuracy on the task, from -1 to 1. It is the mean over seeds, and in "
    "brackets its 95% t-interval, both computed from Fisher's z. n/a: there are too "
    f"few seeds, there are fewer than {LEAST} tasks (or settings), or the values do "
    "not vary.",
    "within: each run has one correlation, over its tasks. without trend: the "
    "correlation after a smooth trend along the stream (a polynomial) is subtracted "
    "from the ranks of the probe and of the accuracy. It is about 0 for two "
    "measurements that only drift along the stream.",
    "between settings: each seed has one correlation, over the settings. It uses the "
    "mean over the tasks for each setting. The learning rate, for example, can change "
    "both the probe and the accuracy. So this correlation is no evidence of a cause if "
    "the correlation within runs is about 0.",
)

INDICATORS_EXPLANATION = (
    "indicators: measurements that are known before a task, from its start (start_...) "
    "or from the end of the previous task. Each indicator is correlated with test "
    "accuracy on the task, within runs. A number is the mean over seeds.",
    "without trend: with a probability of 95%, all intervals of the table contain "
    "their true correlations (Bonferroni). p: the p-value of the t-test of this "
    "correlation against 0, with Holm's correction for all indicators.",
    "worse next task: which values of the indicator announce that the next task will "
    "be learned worse than the trend along the stream predicts; not shown if p is 5% "
    "or more.",
)

UNDEFINED = {
    "no_spearman": "The correlation is undefined for {}: {probe} or the accuracy does "
    f"not vary, or has fewer than {LEAST} values.",
    "no_partial": "The correlation without trend is undefined for {}: without its "
    "trend, {probe} or the accuracy does not vary, for example because it rises at "
    "every task.",
}
"""The notes on seeds that have no correlation, by the column that names the seeds."""

DETAILED = "start_sharpness"
"""The probe that is shown in each setting if no probes are chosen."""


def print_relation(
    results: str,
    probes: Sequence[str] | None = None,
    skip: int = 1,
    format: str = "rich",
    selection: Selection = EVERYTHING,
) -> None:
    """Print how probes (measurements of a network) correlate with test accuracy.

    The first table compares the probes as indicators. Then each probe has a table with
    a row per setting. `probes` are measurements with one number per record. If `probes`
    is None, the first table has all measured indicators, and only `DETAILED` has a
    table of settings. csv prints the tables of settings or, without `probes`, the first
    table. The first `skip` tasks of the stream are ignored. The other arguments are as
    in `print_tables`.

    Raises:
        UsageError: A probe or the format is unknown, `skip` is negative, or there are
            no readable records.
    """
    if skip < 0:
        raise UsageError(f"--skip is {skip}: it must be a whole number, at least 0")
    columns = None if probes is None else [OUTCOME, *probes]
    records = load_records(results, columns, *selection)
    measures = [name for name in records.number_columns if name != OUTCOME]
    for probe in probes or ():
        choose("probe", probe, measures)
    frame = records.to_frame()
    if probes is None:
        measured = [name for name in measures if frame[name].notna().any()]
        detailed = [name for name in measured if name == DETAILED]
        comparison = indicators(frame, lead_indicators(measured), skip)
    else:
        detailed = list(probes)
        comparison = indicators(frame, detailed, skip)
    data = relation(frame, detailed, skip)
    sheets = [*indicator_sheets(comparison), *relation_sheets(data)]
    explanation = [*INDICATORS_EXPLANATION, *EXPLANATION]
    print_sheets(comparison if probes is None else data, sheets, explanation, format)


def indicator_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return one sheet per stream of tasks; `data` is from `indicators`."""
    if data.empty:
        return []
    keys = ["study", "problem", "dataset", "tasks"]
    sheets = []
    for (study, problem, dataset, tasks), part in data.groupby(keys, sort=False):
        title = f"indicators before a task and {OUTCOME} on it, {problem}"
        title += f", study {study}"
        caption, rows = f"dataset {dataset}, tasks {tasks}", part.to_dict("records")
        notes = _conclusions(rows)
        sheets.append(make_sheet(title, caption, INDICATOR_CELLS, rows, notes))
    return sheets


def _conclusions(rows: Sequence[Row]) -> list[str]:
    """Return notes on what a table of indicators shows, and what it can have missed."""
    shown = [f"{_announces(row)} {_name(row)}" for row in rows if _is_shown(row)]
    drift = [
        _name(row)
        for row in rows
        if not _is_shown(row) and row["spearman_lo"] * row["spearman_hi"] > 0
    ]
    visible = [row["visible"] for row in rows if np.isfinite(row["visible"])]
    notes = [
        f"A worse next task is announced by: {', '.join(shown)}."
        if shown
        else "No indicator is shown to announce a worse next task."
    ]
    if drift:
        notes.append(
            "These indicators correlate with accuracy, but no correlation is shown "
            f"once the trend along the stream is subtracted: {', '.join(drift)}."
        )
    if visible:
        least, most = f"{min(visible):.2f}", f"{max(visible):.2f}"
        size = least if least == most else f"{least} to {most}, by indicator,"
        notes.append(
            f"A true correlation without trend of {size} would have been found with a "
            "probability of 80%. Smaller correlations are possibly not found."
        )
    missing: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for row in rows:
        if row["missing"]:
            missing[row["missing"], row["tested"] == 0].append(_name(row))
    for (seeds, is_all), names in missing.items():
        which = "any seed" if is_all else name_seeds(seeds)
        notes.append(
            f"These indicators have no correlation without trend for {which}: "
            f"{', '.join(names)}. There are too few values, or the trend along the "
            "stream explains all of them."
        )
    return notes


def _name(row: Row) -> str:
    return str(row["probe"]) if row["is_before"] else f"{row['probe']} (task before)"


def _is_shown(row: Row) -> bool:
    return bool(row["p_holm"] < LEVEL)


def _announces(row: Row) -> str:
    """Return which value of a probe announces a worse task."""
    return "a high" if row["partial"] < 0 else "a low"


def relation_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return one sheet per stream of tasks and probe; `data` is from `relation`."""
    if data.empty:
        return []
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
    """Return notes on the seeds without a correlation, which the column `name` lists.

    Settings that lack the same seeds share a note.
    """
    labels: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for row in rows:
        seeds, every = row[name], len(row[name].split()) == row["runs"]
        # The row of all settings repeats the seeds of its settings. The row between
        # settings needs no note if no seed has a correlation: most often the settings
        # are too few, and the row shows their number.
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


def _mean_over_seeds(row: Row, name: str) -> str:
    """Return a correlation with the number of its seeds, if some seeds have none."""
    left_out = len(row["no_spearman"].split())
    if name == "partial":
        left_out += len(row["no_partial"].split())
    seeds = row["runs"] - left_out
    few = f", {seeds} seed{'s' * (seeds != 1)}" if left_out else ""
    return _correlation(row, name, few)


def _correlation(row: Row, name: str, few: str = "") -> str:
    if np.isnan(row[name]):
        return "n/a"
    lo, hi = row[f"{name}_lo"], row[f"{name}_hi"]
    ends = "n/a" if np.isnan(lo) else f"{lo + 0.0:.2f} to {hi + 0.0:.2f}"
    return f"{row[name] + 0.0:.2f} ({ends}{few})"


INDICATOR_CELLS: Cells = {
    Column("indicator"): _name,
    number("seeds"): lambda row: (
        str(row["seeds"])
        if row["tested"] == row["seeds"]
        else f"{row['tested']} of {row['seeds']}"
    ),
    number("tasks"): lambda row: str(row["points"]),
    number("spearman"): partial(_correlation, name="spearman"),
    number("without trend"): partial(_correlation, name="partial"),
    number("p", "Holm"): lambda row: write_p(
        None if np.isnan(row["p_holm"]) else row["p_holm"]
    ),
    Column("worse next task"): lambda row: (
        f"{_announces(row)} value" if _is_shown(row) else "not shown"
    ),
}

CELLS: Cells = {
    Column("setting"): value_cell("label"),
    number("seeds"): _seeds,
    number("over"): lambda row: (
        f"{row['points']} {'settings' if row['label'] == BETWEEN else 'tasks'}"
    ),
    number("spearman"): partial(_mean_over_seeds, name="spearman"),
    number("without trend"): lambda row: (
        "" if row["label"] == BETWEEN else _mean_over_seeds(row, "partial")
    ),
}
