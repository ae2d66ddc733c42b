"""Correlate a probe, measured before a task, with the accuracy on that task.

There are two kinds of correlation, because pooling all records would mix them:

- Within a setting: over the tasks of each run. Two measurements also correlate if they
  only drift along the stream. So the partial correlation, which controls for the task
  number, is computed too.
- Between settings: for each seed, over the settings, from the means over the tasks. A
  learning rate changes the probe and the accuracy, so this correlation alone is no
  evidence of a cause.

Rank correlation (Spearman 1904) detects any monotone relation. The tasks of a run are
not independent. So each run or seed first gives one number, and the intervals are over
seeds.
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
"""The column that the probes are correlated with."""

LEAST = 4
"""The smallest number of tasks or settings to correlate.

With three points, a third of all orders give a correlation of exactly 1 or -1.
"""

ALL = "all settings, within"
"""Label of the row with the mean of the correlations within the settings."""

BETWEEN = "between settings"
"""Label of the row with the correlation between the settings."""


def spearman(one: Reals, other: Reals, given: Reals | None = None) -> Reals:
    """Return the rank correlation of each row of `one` with the same row of `other`.

    Equal values get their mean rank. If `given` is passed, return the partial
    correlation of the ranks, (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)), where
    x is `one`, y is `other` and z is `given`. `scipy.stats.spearmanr` computes the same
    rank correlation for one row at a time. A correlation is NaN if it is undefined or
    has fewer than `LEAST` points.

    Args:
        one: Shape (rows, n). A position is left out if `one` or `other` is NaN there.
        other: The same shape as `one`.
        given: The same shape as `one`, without NaN. The values to control for.

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
    # If `given` alone determines x or y, the partial correlation is undefined. The
    # number 1e-12 is far above rounding error.
    rest = np.where(rest > 1e-12, rest, np.nan)
    return np.asarray((xy - xz * yz) / np.sqrt(rest))


def _pearson(one: Reals, other: Reals) -> Reals:
    """Return the linear correlation of each row of `one` with the same row of `other`.

    The two matrices must have NaN at the same positions.
    """
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
        runs: The runs of the setting.
        probe: The values of the probe, shape (runs, tasks); NaN if not measured.
        outcome: The accuracy, in the same shape as `probe`.
        plain: The rank correlation of each run, over its tasks.
        partial: The partial rank correlation, which controls for the task number.
    """

    runs: Runs
    probe: Reals
    outcome: Reals
    plain: Reals
    partial: Reals

    @classmethod
    def of(cls, runs: Runs, probe: Reals, skip: int) -> Correlations:
        """Correlate probe and accuracy in each run, without the first `skip` tasks."""
        x, y = probe[:, skip:], runs.matrix[:, skip:]
        task = np.broadcast_to(np.arange(x.shape[1], dtype=np.float64), x.shape)
        return cls(runs, x, y, spearman(x, y), spearman(x, y, task))

    @property
    def points(self) -> int:
        """The number of tasks with a value of the probe, in the run with the most."""
        return int((~np.isnan(self.probe)).sum(axis=1).max(initial=0))


def relation(frame: pd.DataFrame, probes: Sequence[str], skip: int = 1) -> pd.DataFrame:
    """Return how probes correlate with accuracy, within and between settings.

    Args:
        frame: Records with the columns `analysis.records.runs.NEEDED`, test_accuracy
            and the probes.
        probes: The columns to correlate with test_accuracy.
        skip: How many tasks to leave out at the start of the stream.

    Returns:
        For each study, problem, dataset, number of tasks and probe: one row per
        setting, then a row for the mean of the settings (label `ALL`) and a row for the
        correlation between settings (label `BETWEEN`). Columns:

        - study, problem, dataset, tasks and probe
        - label, a short name of the setting
        - setting_id, None in the rows `ALL` and `BETWEEN`
        - runs: the number of runs of the setting; in `ALL` and `BETWEEN`, of seeds
        - expected: the number of runs that the setting should have
        - points: the largest number of points of a correlation (tasks, or settings in
          `BETWEEN`)
        - spearman, spearman_lo, spearman_hi: the correlation and its 95% interval
        - partial, partial_lo, partial_hi: the same, controlled for the task number; NaN
          in `BETWEEN`
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
    """Return the rows of one problem and one probe: one per setting, then two more."""
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
    """Return the row `ALL`: the mean correlation within the settings.

    Each seed first gives the mean of its correlations over the settings. The row has
    the mean and the interval over the seeds.
    """
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
    """Return the row `BETWEEN`: the correlation between the settings.

    For each seed, every setting gives the mean of the probe and the mean of the
    accuracy. The correlation of the seed is over the settings.
    """
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
    """Return the mean and the 95% interval of the values that are not NaN."""
    return mean_interval(values[~np.isnan(values)]).columns(name)
