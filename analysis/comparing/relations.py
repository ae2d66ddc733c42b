"""Correlate a probe, measured before a task, with the accuracy on that task.

There are two kinds of correlation, because pooling all records would mix them:

- Within a setting: over the tasks of each run. Two measurements also correlate if they
  only drift along the stream. So a second correlation takes a smooth trend off both.
- Between settings: for each seed, over the settings, from the means over the tasks. A
  learning rate changes the probe and the accuracy, so this correlation alone is no
  evidence of a cause.

Rank correlation detects any monotone relation; see `analysis.statistics.correlations`.
The tasks of a run are not independent. So each run or seed first gives one number, and
the intervals are over seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.records.runs import Reals, Runs, by_setting, labels, matrices
from analysis.statistics.correlations import (
    detrended_spearman,
    mean_correlation,
    spearman,
)

OUTCOME = "test_accuracy"
"""The column that the probes are correlated with."""

ALL = "all settings, within"
"""Label of the row with the mean of the correlations within the settings."""

BETWEEN = "between settings"
"""Label of the row with the correlation between the settings."""


@attrs.frozen
class Correlations:
    """The correlations within each run of one setting.

    Attributes:
        runs: The runs of the setting.
        probe: The values of the probe, shape (runs, tasks); NaN if not measured.
        outcome: The accuracy, in the same shape as `probe`.
        plain: The rank correlation of each run, over its tasks.
        partial: The rank correlation of each run without a smooth trend over the tasks.
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
        return cls(runs, x, y, spearman(x, y), detrended_spearman(x, y))

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
        - spearman, spearman_lo, spearman_hi: the mean correlation over the runs and its
          95% interval
        - no_spearman: the seeds without this correlation, as text ("0 3"): fewer than
          `LEAST` points, or the probe or the accuracy does not vary
        - partial, partial_lo, partial_hi: the same without a smooth trend over the
          tasks; NaN in `BETWEEN`
        - no_partial: the seeds that have the first correlation but not this one, as
          text: the trend leaves nothing of the probe or of the accuracy
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
            **_columns(
                setting.runs.seeds, setting.plain, setting.partial, setting.points
            ),
        }
        for label, setting in zip(names, settings, strict=True)
    ]
    return [*rows, _row_within(settings), _row_between(settings)]


def _row_within(settings: Sequence[Correlations]) -> dict[str, Any]:
    """Return the row `ALL`: the mean correlation within the settings.

    Each seed first gives the mean of its correlations over the settings. The row has
    the mean and the interval over the seeds.
    """
    points = max(setting.points for setting in settings)
    plain: dict[int, list[float]] = defaultdict(list)
    partial: dict[int, list[float]] = defaultdict(list)
    for setting in settings:
        for i, seed in enumerate(setting.runs.seeds):
            plain[seed].append(setting.plain[i])
            partial[seed].append(setting.partial[i])
    seeds = sorted(plain)
    plain_means, partial_means = (
        np.array([_mean(by_seed[seed], points) for seed in seeds])
        for by_seed in (plain, partial)
    )
    return {
        "label": ALL,
        "setting_id": None,
        "runs": len(seeds),
        "expected": None,
        "points": points,
        **_columns(seeds, plain_means, partial_means, points),
    }


def _mean(correlations: Iterable[float], points: int) -> float:
    return float(mean_correlation(np.array(list(correlations)), points).mean)


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
    seeds = sorted(by_seed)
    correlations = [spearman(*np.array(by_seed[seed]).T[:, None])[0] for seed in seeds]
    points = max(map(len, by_seed.values()), default=0)
    undefined = np.full(len(seeds), np.nan)
    return {
        "label": BETWEEN,
        "setting_id": None,
        "runs": len(by_seed),
        "expected": None,
        "points": points,
        **_columns(seeds, np.array(correlations), undefined, points),
        "no_partial": "",
    }


def _columns(
    seeds: Sequence[int], plain: Reals, partial: Reals, points: int
) -> dict[str, Any]:
    """Return the columns of both correlations: means, intervals, and seeds without."""
    no_plain = np.isnan(plain)
    return {
        **mean_correlation(plain, points).columns("spearman"),
        "no_spearman": _name(seeds, no_plain),
        **mean_correlation(partial, points).columns("partial"),
        "no_partial": _name(seeds, np.isnan(partial) & ~no_plain),
    }


def _name(seeds: Sequence[int], chosen: npt.NDArray[np.bool_]) -> str:
    return " ".join(str(seed) for seed, yes in zip(seeds, chosen, strict=True) if yes)
