"""Relation: does what a probe says before a task go with the accuracy on it?

Two questions, which one pooled correlation would mix up:

- within a setting, over the tasks of each run: nothing differs between a run's tasks
  but the task and what the earlier ones have left. Where both only drift along the
  stream they go together too; so beside it stands the partial correlation given the
  task's number.
- between settings, over the settings of each seed: each one's means over the tasks. A
  learning rate moves both, so that this alone can show no cause.

Rank correlation (Spearman 1904), which sees any monotone relation. One number a run or
seed comes first, and intervals are over seeds, for a run's tasks are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.records.load import load
from analysis.records.runs import NEEDED, Runs, by_setting, labels, matrices
from analysis.statistics.intervals import mean_interval
from analysis.tables.formats import FORMATS, Column, Sheet
from analysis.tables.printing import print_sheets
from trainables.record import COLUMNS, MEASURED
from trainables.usage import UsageError, choose

Reals = npt.NDArray[np.float64]

OUTCOME = "test_accuracy"
LEAST = 4
"""Tasks, or settings, that a correlation needs: of three, half the orders are ±1."""

ALL = "all settings, within"
BETWEEN = "between settings"

EXPLANATION = (
    "Spearman's rank correlation of the probe with test accuracy on the task, from -1 "
    "to 1; mean over seeds ± half of its 95% t-interval over seeds; n/a: too few "
    f"seeds, or fewer than {LEAST} tasks (or settings) to correlate over, or no "
    "variation.",
    "within: over the tasks of each run. given the task: the partial correlation that "
    "is left when both are told the task's number, so that what merely drifts along "
    "the stream does not count.",
    "between settings: over the settings of each seed, of their means over the tasks. "
    "What differs between settings (as the learning rate) may move both: it is no "
    "evidence of a cause where the runs of one setting show nothing.",
)


def spearman(one: Reals, other: Reals, given: Reals | None = None) -> Reals:
    """Return the rank correlation of each row of two matrices; NaN where undefined.

    Ties have their mean rank. With `given`, the partial correlation
    (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) of the ranks.

    Args:
        one: Shape (rows, n); a place with a NaN in either counts in neither.
        other: The same shape.
        given: The same shape, or none.

    >>> spearman(np.array([[1.0, 2, 3, 9]]), np.array([[2.0, 4, 8, 5]])).tolist()
    [0.8]
    """
    missing = np.isnan(one) | np.isnan(other)
    known = [one, other] if given is None else [one, other, given]
    ranks = [
        pd.DataFrame(np.where(missing, np.nan, values)).rank(axis=1).to_numpy()
        for values in known
    ]
    few = (~missing).sum(axis=1) < LEAST
    xy = np.where(few, np.nan, _pearson(ranks[0], ranks[1]))
    if given is None:
        return xy
    xz, yz = _pearson(ranks[0], ranks[2]), _pearson(ranks[1], ranks[2])
    left = (1 - xz**2) * (1 - yz**2)
    defined = left > 1e-12  # else all of one is told by the task's number
    return np.where(
        defined, (xy - xz * yz) / np.sqrt(np.where(defined, left, 1)), np.nan
    )


def _pearson(one: Reals, other: Reals) -> Reals:
    """Return the correlation of each row; NaNs stand at the same places."""
    count = np.maximum((~np.isnan(one)).sum(axis=1, keepdims=True), 1)
    x, y = (
        np.nan_to_num(values - np.nansum(values, axis=1, keepdims=True) / count)
        for values in (one, other)
    )
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.where(size > 0, (x * y).sum(axis=1) / np.where(size > 0, size, 1), np.nan)


def relation(frame: pd.DataFrame, probes: Sequence[str], skip: int = 1) -> pd.DataFrame:
    """Return how probes go with accuracy, within each setting and between settings.

    Args:
        frame: Records with `analysis.records.runs.NEEDED`, `OUTCOME` and the probes.
        probes: Columns of the records.
        skip: Tasks at the beginning that are left out.

    Returns:
        Rows by (study, problem, dataset, tasks, probe): one a setting, then `ALL`
        (each seed's mean over the settings), then `BETWEEN`. Columns: the above, label,
        setting_id (None for the last two), runs (of the setting, or seeds), expected,
        points (tasks, or settings, that were correlated over: the most); spearman and
        partial, each with _lo and _hi. partial is NaN between settings.
    """
    groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
    for runs in by_setting(frame, OUTCOME):
        groups[runs.peers].append(runs)
    rows = []
    for (study, problem, dataset, tasks), group in groups.items():
        who = {"study": study, "problem": problem, "dataset": dataset, "tasks": tasks}
        measured = matrices(frame, group, probes)
        for probe in probes:
            values = [matrix[probe][:, skip:] for matrix in measured]
            of = who | {"probe": probe}
            rows += [of | row for row in _rows(group, values, skip)]
    return pd.DataFrame(rows)


def _rows(group: list[Runs], values: list[Reals], skip: int) -> list[dict[str, Any]]:
    """Return the rows of one problem and probe.

    Args:
        group: The settings' runs.
        values: The probe's, a matrix a setting, without the tasks left out.
        skip: How many those are.
    """
    rows = []
    by_seed = _BySeed()
    for runs, label, x in zip(
        group, labels([runs.setting for runs in group]), values, strict=True
    ):
        y = runs.matrix[:, skip:]
        task = np.broadcast_to(np.arange(x.shape[1], dtype=np.float64), x.shape)
        plain, partial = spearman(x, y), spearman(x, y, task)
        by_seed.add(runs.seeds, x, y, plain, partial)
        rows.append(
            {
                "label": label,
                "setting_id": runs.setting_id,
                "runs": len(runs.seeds),
                "expected": runs.expected,
                "points": int((~np.isnan(x)).sum(axis=1).max(initial=0)),
                **_with_interval("spearman", plain),
                **_with_interval("partial", partial),
            }
        )
    most = max((~np.isnan(x)).sum(axis=1).max(initial=0) for x in values)
    return [*rows, *by_seed.rows(int(most))]


class _BySeed:
    """What each seed has over all settings."""

    def __init__(self) -> None:
        self._within: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._means: dict[int, list[tuple[float, float]]] = defaultdict(list)

    def add(
        self, seeds: Sequence[int], x: Reals, y: Reals, plain: Reals, partial: Reals
    ) -> None:
        """Take one setting's runs."""
        known = ~np.isnan(x)
        for i, seed in enumerate(seeds):
            if known[i].any():
                means = x[i, known[i]].mean(), y[i, known[i]].mean()
                self._means[seed].append((float(means[0]), float(means[1])))
            if not np.isnan(plain[i]):
                self._within[seed].append((float(plain[i]), float(partial[i])))

    def rows(self, points: int) -> list[dict[str, Any]]:
        """Return the rows of all settings, within and between."""
        within = [np.array(pairs).mean(axis=0) for pairs in self._within.values()]
        both = np.array(within).reshape(-1, 2)
        between = [
            spearman(np.array([x]), np.array([y]))[0]
            for x, y in (zip(*pairs, strict=True) for pairs in self._means.values())
        ]
        settings = max((len(pairs) for pairs in self._means.values()), default=0)
        common = {"setting_id": None, "expected": None}
        return [
            {
                "label": ALL,
                **common,
                "runs": len(both),
                "points": points,
                **_with_interval("spearman", both[:, 0]),
                **_with_interval("partial", both[:, 1]),
            },
            {
                "label": BETWEEN,
                **common,
                "runs": len(between),
                "points": settings,
                **_with_interval("spearman", np.array(between)),
                **_with_interval("partial", np.array([])),
            },
        ]


def _with_interval(name: str, values: Reals) -> dict[str, float]:
    """Return the mean over those that are numbers, and its interval."""
    interval = mean_interval(values[~np.isnan(values)])
    return {
        name + suffix: float(value)
        for suffix, value in zip(("", "_lo", "_hi"), interval, strict=True)
    }


def relation_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet for each study, problem and probe of a `relation`."""
    keys = ["study", "problem", "dataset", "tasks", "probe"]
    sheets = []
    for (study, problem, dataset, tasks, probe), part in data.groupby(keys, sort=False):
        columns = [
            Column("setting"),
            Column("seeds", right=True),
            Column("over", right=True),
            Column("spearman", right=True),
            Column("given the task", right=True),
        ]
        rows = [_cells(row) for row in part.to_dict("records")]
        notes = []
        if part["points"].iloc[:-1].max() < LEAST:
            notes.append(
                f"{probe} was measured on too few tasks: run the study with "
                "--probe-every 1 for all of them."
            )
        title = f"{probe} and {OUTCOME}, {problem}, study {study}"
        caption = f"dataset {dataset}, tasks {tasks}"
        sheets.append(Sheet(title, caption, columns, rows, notes))
    return sheets


def _cells(row: dict[Any, Any]) -> list[str]:
    what = "settings" if row["label"] == BETWEEN else "tasks"
    few = not pd.isna(row["expected"]) and row["runs"] < row["expected"]
    return [
        row["label"],
        f"{row['runs']} of {int(row['expected'])}" if few else str(row["runs"]),
        f"{row['points']} {what}",
        _spread(row, "spearman"),
        "" if row["label"] == BETWEEN else _spread(row, "partial"),
    ]


def _spread(row: dict[Any, Any], name: str) -> str:
    """Return the mean ± half the interval."""
    mean, half = row[name], (row[f"{name}_hi"] - row[f"{name}_lo"]) / 2
    if pd.isna(mean):
        return "n/a"
    return f"{mean + 0.0:.2f} ± {'n/a' if pd.isna(half) else f'{half:.2f}'}"


def print_relation(
    results: str,
    probes: Sequence[str],
    skip: int = 1,
    format: str = "rich",
    where: str | None = None,
) -> None:
    """Print how probes go with accuracy, of all records under `results`.

    Args:
        results: What `analysis.records.load.load` takes.
        probes: Columns of the records, each one number a row.
        skip: Tasks at the beginning that are left out.
        format: One of `analysis.tables.formats.FORMATS`, or csv.
        where: Which records, in the language of `analysis.records.where`; all if None.

    Raises:
        UsageError: An unknown probe or format, or records that cannot be read.
    """
    choose("format", format, [*FORMATS, "csv"])
    numbers = [n for n in MEASURED if COLUMNS[n].type == COLUMNS[OUTCOME].type]
    for probe in probes:
        choose("probe", probe, [name for name in numbers if name != OUTCOME])
    if skip < 0:
        raise UsageError(f"--skip is {skip}: it must be a whole number, at least 0")
    frame = load(results, [*NEEDED, OUTCOME, *probes], where)
    data = relation(frame, probes, skip)
    print_sheets(data, relation_sheets(data), EXPLANATION, format)
