"""How a probe before a task correlates with the accuracy on it.

There are two questions, which one pooled correlation would mix up:

- within a setting, over the tasks of each run: a run's tasks differ only in the task
  and in what the earlier ones left behind. Two measurements that both drift along the
  stream correlate too, so there is also the partial correlation given the task.
- between settings, over the settings of each seed, of their means over the tasks. A
  learning rate changes both, so this correlation alone is no evidence of a cause.

Rank correlation (Spearman 1904) detects any monotone relation. Each run or seed first
gives one number, and intervals are over seeds, because a run's tasks are not
independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pandas as pd

from analysis.records.runs import Reals, Runs, by_setting, labels, matrices
from analysis.statistics.intervals import mean_interval

OUTCOME = "test_accuracy"

LEAST = 4
"""The fewest tasks, or settings, to correlate: of three, half the orders give ±1."""

ALL = "all settings, within"
BETWEEN = "between settings"


def spearman(one: Reals, other: Reals, given: Reals | None = None) -> Reals:
    """Return the rank correlation of each row of two matrices; NaN where undefined.

    Ties have their mean rank. With `given`, the partial correlation
    (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) of the ranks.
    `scipy.stats.spearmanr` gives the same, but one row at a time.

    Args:
        one: Shape (rows, n); a position with a NaN in either matrix is left out.
        other: The same shape.
        given: The same shape; without NaN.

    >>> spearman(np.array([[1.0, 2, 3, 9]]), np.array([[2.0, 4, 8, 5]])).tolist()
    [0.8]
    """
    missing = np.isnan(one) | np.isnan(other)
    x, y, *z = (
        pd.DataFrame(np.where(missing, np.nan, values)).rank(axis=1).to_numpy()
        for values in (one, other, given)
        if values is not None
    )
    few = (~missing).sum(axis=1) < LEAST
    xy = np.where(few, np.nan, _pearson(x, y))
    if not z:
        return xy
    xz, yz = _pearson(x, z[0]), _pearson(y, z[0])
    rest = (1 - xz**2) * (1 - yz**2)
    # Without a rest, the task's number alone determines one of the two.
    rest = np.where(rest > 1e-12, rest, np.nan)
    return np.asarray((xy - xz * yz) / np.sqrt(rest))


def _pearson(one: Reals, other: Reals) -> Reals:
    """Return the correlation of each row; both have their NaNs in the same places."""
    count = np.maximum((~np.isnan(one)).sum(axis=1, keepdims=True), 1)
    x, y = (
        np.nan_to_num(values - np.nansum(values, axis=1, keepdims=True) / count)
        for values in (one, other)
    )
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.asarray((x * y).sum(axis=1) / np.where(size > 0, size, np.nan))


@attrs.frozen
class Correlations:
    """The correlations within each run of one setting.

    Attributes:
        runs: The runs.
        probe: The probe, shape (runs, tasks); NaN where it was not measured.
        outcome: The accuracy, the same shape.
        plain: The rank correlation of each run.
        partial: The same given the task's number.
    """

    runs: Runs
    probe: Reals
    outcome: Reals
    plain: Reals
    partial: Reals

    @classmethod
    def of(cls, runs: Runs, probe: Reals, skip: int) -> Correlations:
        """Correlate a probe with the runs' accuracy, without the first tasks."""
        x, y = probe[:, skip:], runs.matrix[:, skip:]
        task = np.broadcast_to(np.arange(x.shape[1], dtype=np.float64), x.shape)
        return cls(runs, x, y, spearman(x, y), spearman(x, y, task))

    @property
    def points(self) -> int:
        """The most tasks of a run on which the probe was measured."""
        return int((~np.isnan(self.probe)).sum(axis=1).max(initial=0))


def relation(frame: pd.DataFrame, probes: Sequence[str], skip: int = 1) -> pd.DataFrame:
    """Return how probes correlate with accuracy, within and between settings.

    Args:
        frame: Records with `analysis.records.runs.NEEDED`, `OUTCOME` and the probes.
        probes: Columns of the records.
        skip: How many of the first tasks to leave out.

    Returns:
        Rows by (study, problem, dataset, tasks, probe): one per setting, then `ALL`
        (each seed's mean over the settings), then `BETWEEN`. Columns: the above, label,
        setting_id (None for the last two), runs (of the setting, or seeds), expected,
        points (the most tasks, or settings, of a correlation); spearman and partial,
        each with _lo and _hi. partial is NaN between settings.
    """
    groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
    for runs in by_setting(frame, OUTCOME):
        groups[runs.peers].append(runs)
    rows = []
    for peers, group in groups.items():
        keys = dict(zip(("study", "problem", "dataset", "tasks"), peers, strict=True))
        measured = matrices(frame, group, probes)
        for probe in probes:
            settings = [
                Correlations.of(runs, values[probe], skip)
                for runs, values in zip(group, measured, strict=True)
            ]
            for row in _rows(settings):
                rows.append({**keys, "probe": probe, **row})
    return pd.DataFrame(rows)


def _rows(settings: Sequence[Correlations]) -> list[dict[str, Any]]:
    """Return the rows of one problem and probe."""
    names = labels([setting.runs.setting for setting in settings])
    rows = [
        {
            "label": label,
            "setting_id": setting.runs.setting_id,
            "runs": len(setting.runs.seeds),
            "expected": setting.runs.expected,
            "points": setting.points,
            **_interval("spearman", setting.plain),
            **_interval("partial", setting.partial),
        }
        for label, setting in zip(names, settings, strict=True)
    ]
    return [*rows, _row_within(settings), _row_between(settings)]


def _row_within(settings: Sequence[Correlations]) -> dict[str, Any]:
    """Return the row of each seed's mean correlation over the settings."""
    by_seed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for setting in settings:
        pairs = zip(setting.plain, setting.partial, strict=True)
        for seed, pair in zip(setting.runs.seeds, pairs, strict=True):
            if not np.isnan(pair[0]):
                by_seed[seed].append(pair)
    means = np.array([np.mean(pairs, axis=0) for pairs in by_seed.values()])
    plain, partial = means.reshape(-1, 2).T
    return {
        "label": ALL,
        "setting_id": None,
        "runs": len(by_seed),
        "expected": None,
        "points": max(setting.points for setting in settings),
        **_interval("spearman", plain),
        **_interval("partial", partial),
    }


def _row_between(settings: Sequence[Correlations]) -> dict[str, Any]:
    """Return the row of the correlation of each seed's means, over the settings."""
    by_seed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for setting in settings:
        for i, seed in enumerate(setting.runs.seeds):
            measured = ~np.isnan(setting.probe[i])
            if measured.any():
                means = setting.probe[i, measured], setting.outcome[i, measured]
                by_seed[seed].append((float(means[0].mean()), float(means[1].mean())))
    correlations = [
        spearman(np.array([x]), np.array([y]))[0]
        for x, y in (zip(*pairs, strict=True) for pairs in by_seed.values())
    ]
    return {
        "label": BETWEEN,
        "setting_id": None,
        "runs": len(by_seed),
        "expected": None,
        "points": max(map(len, by_seed.values()), default=0),
        **_interval("spearman", np.array(correlations)),
        **_interval("partial", np.array([])),
    }


def _interval(name: str, values: Reals) -> dict[str, float]:
    """Return the mean and interval of those values that are not NaN."""
    return mean_interval(values[~np.isnan(values)]).columns(name)
