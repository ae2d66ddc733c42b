"""Correlate a probe, measured before a task, with the accuracy on that task.

There are two kinds of correlation, because pooling all records would mix them:

- Within a setting: over the tasks of each run. Two measurements also correlate if they
  only drift along the stream. So a second, partial correlation is computed after a
  smooth trend is subtracted from both.
- Between settings: for each seed, over the settings, from the means over the tasks. A
  learning rate changes the probe and the accuracy, so this correlation alone is no
  evidence of a cause.

Rank correlation detects any monotone relation; see `analysis.statistics.correlations`.
The tasks of a run are not independent. So each run or seed first gives one number, and
the intervals are over seeds.

`relation` shows one probe in each setting. `indicators` compares all probes that are
known before a task, and says which of them announce that the task will be learned worse
than the trend along the stream predicts. Each indicator has one test, and the tests
have Holm's correction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.records.runs import Reals, Runs, by_setting, labels, matrices
from analysis.statistics.correlations import (
    LEAST,
    detrended_spearman,
    fisher,
    mean_correlation,
    spearman,
)
from analysis.statistics.intervals import standard_deviation, t_quantile
from analysis.statistics.paired import holm, paired_difference
from analysis.statistics.power import LEVEL, detectable_effect

OUTCOME = "test_accuracy"
"""The column that the probes are correlated with."""

ALL = "all settings, within"
"""Label of the row with the mean of the correlations within the settings."""

BETWEEN = "between settings"
"""Label of the row with the correlation between the settings."""

NO_INDICATORS = (
    OUTCOME,
    "test_loss",
    "online_accuracy",
    "train_loss",
    "hessian_trace_error",
)
"""Measures that `lead_indicators` leaves out: outcomes, and the error of a measure."""

BEFORE = "start_"
"""The names of measures before a task begin with this text."""


@attrs.frozen
class Correlations:
    """The correlations within each run of one setting."""

    runs: Runs
    probe: Reals  # the values of the probe, shape (runs, tasks); NaN if not measured
    outcome: Reals  # the accuracy, shape (runs, tasks)
    plain: Reals  # the rank correlation of each run, over its tasks
    partial: Reals  # the same without a smooth trend over the tasks

    @classmethod
    def of(cls, runs: Runs, probe: Reals, skip: int) -> Correlations:
        """Correlate probe and accuracy in each run, without the first `skip` tasks."""
        x, y = probe[:, skip:], runs.matrix[:, skip:]
        return cls(runs, x, y, spearman(x, y), detrended_spearman(x, y))

    @property
    def points(self) -> int:
        """The number of measured tasks, in the run that has the most of them."""
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
        - no_partial: the seeds that have a plain but no partial correlation, as
          text: without the trend, the probe or the accuracy does not vary
    """
    rows = []
    for keys, group, measured in _streams(frame, probes):
        for probe in probes:
            settings = [
                Correlations.of(runs, values[probe], skip)
                for runs, values in zip(group, measured, strict=True)
            ]
            for row in _rows(settings):
                rows.append({**keys, "probe": probe, **row})
    return pd.DataFrame(rows)


def lead_indicators(measures: Iterable[str]) -> list[str]:
    """Return the measures that can predict the next task.

    `NO_INDICATORS` are left out. If both X and start_X are measured, X is left out too:
    it would be taken at the end of the previous task.
    """
    names = [name for name in measures if name not in NO_INDICATORS]
    return [name for name in names if BEFORE + name not in names]


def indicators(
    frame: pd.DataFrame, probes: Sequence[str], skip: int = 1
) -> pd.DataFrame:
    """Return which probes announce a task that is learned worse than the trend.

    Probes are correlated with test_accuracy on a task. A probe named start_... is
    measured before this task, any other probe at the end of the previous task. Each
    seed gives the mean of its correlations within the settings (`ALL` of `relation`).
    All tests are of the partial correlation, without a smooth trend over the tasks.

    Args:
        frame: As in `relation`.
        probes: The columns to compare.
        skip: How many tasks to leave out at the start of the stream.

    Returns:
        For each study, problem, dataset and number of tasks, one row per probe:

        - study, problem, dataset, tasks and probe
        - is_before: whether the probe is measured before the task itself
        - seeds: the number of seeds; tested: how many have a partial correlation
        - missing: the seeds without a partial correlation, as text ("0 3")
        - points: the largest number of tasks of a correlation
        - spearman, spearman_lo, spearman_hi: as in `relation`
        - partial, partial_lo, partial_hi: the mean partial correlation and its
          interval; with a probability of 95%, the intervals of all probes of the stream
          contain the true means (Bonferroni)
        - p, p_holm: the p-value of the two-sided t-test of Fisher's z, without and with
          Holm's correction for the probes of the stream
        - visible: the smallest true correlation that this test finds with a probability
          of 80%
    """
    rows = []
    for keys, group, measured in _streams(frame, probes):
        own = []
        for probe in probes:
            settings = [
                Correlations.of(runs, _known_before(probe, values[probe]), skip)
                for runs, values in zip(group, measured, strict=True)
            ]
            own.append({**keys, "probe": probe, **_indicator(settings)})
            own[-1]["is_before"] = probe.startswith(BEFORE)
        tests = sum(not np.isnan(row["p"]) for row in own)
        corrected = holm([row["p"] for row in own])
        for row, p_holm in zip(own, corrected, strict=True):
            mean, spread = row.pop("z"), row.pop("spread")
            rows.append({**row, "p_holm": p_holm, **_ends(row, mean, spread, tests)})
    return pd.DataFrame(rows)


def _known_before(probe: str, values: Reals) -> Reals:
    """Return the value of a probe that is known before each task: (runs, tasks)."""
    if probe.startswith(BEFORE):
        return values
    # A value from the end of a task is known before the next task.
    return np.pad(values[:, :-1], ((0, 0), (1, 0)), constant_values=np.nan)


def _indicator(settings: Sequence[Correlations]) -> dict[str, Any]:
    """Return the columns of `indicators` that do not depend on the other probes.

    z and spread, the mean and the standard deviation of Fisher's z over the seeds, are
    for `_ends`.
    """
    seeds, plain, partial, points = _by_seed(settings)
    undefined = np.isnan(partial)
    z = fisher(partial[~undefined], max(points, LEAST))
    test = paired_difference(z, np.zeros_like(z))
    return {
        "seeds": len(seeds),
        "tested": len(z),
        "missing": _name(seeds, undefined),
        "points": points,
        **mean_correlation(plain, max(points, LEAST)).columns("spearman"),
        "p": float(test.p),
        "z": float(test.mean),
        "spread": float(standard_deviation(z)) if len(z) > 1 else np.nan,
    }


def _ends(
    row: dict[str, Any], mean: float, spread: float, tests: int
) -> dict[str, float]:
    """Return the columns partial, partial_lo, partial_hi and visible of `indicators`.

    `mean` and `spread` are those of Fisher's z over the seeds.
    """
    count = row["tested"]
    half = visible = np.nan
    if count > 1 and tests:
        critical = t_quantile(count, 1 - LEVEL / 2 / tests)
        half = critical * spread / np.sqrt(count)
        visible = float(np.tanh(detectable_effect(count, tests) * spread))
    ends = {"": mean, "_lo": mean - half, "_hi": mean + half}
    return {
        **{f"partial{end}": float(np.tanh(z)) for end, z in ends.items()},
        "visible": visible,
    }


def _streams(
    frame: pd.DataFrame, probes: Sequence[str]
) -> Iterator[tuple[dict[str, Any], list[Runs], list[dict[str, Reals]]]]:
    """Yield the keys, the settings and the probes' values of each stream of tasks."""
    groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
    for runs in by_setting(frame, OUTCOME):
        groups[runs.peers].append(runs)
    for peers, group in groups.items():
        keys = dict(zip(("study", "problem", "dataset", "tasks"), peers, strict=True))
        yield keys, group, matrices(frame, group, probes)


def _rows(settings: Sequence[Correlations]) -> list[dict[str, Any]]:
    """Return the rows of one problem and one probe: one per setting, then two more."""
    names = labels([setting.runs.setting for setting in settings])
    rows = []
    for label, own in zip(names, settings, strict=True):
        row = _row(label, own.runs.seeds, own.plain, own.partial, own.points)
        row |= {"setting_id": own.runs.setting_id, "expected": own.runs.expected}
        rows.append(row)
    return [*rows, _row(ALL, *_by_seed(settings)), _row_between(settings)]


def _by_seed(settings: Sequence[Correlations]) -> tuple[list[int], Reals, Reals, int]:
    """Return the seeds, their mean correlations over the settings, and the points.

    There are two means of shape (seeds,): of the plain and of the partial correlations
    (see `Correlations`). The points are the largest `Correlations.points`.
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
        np.array([mean_correlation(np.array(own[s]), points).mean for s in seeds])
        for own in (plain, partial)
    )
    return seeds, plain_means, partial_means, points


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
    row = _row(BETWEEN, seeds, np.array(correlations), undefined, points)
    return row | {"no_partial": ""}


def _row(
    label: str, seeds: Sequence[int], plain: Reals, partial: Reals, points: int
) -> dict[str, Any]:
    """Return a row of `relation`, from the correlations of each seed."""
    no_plain = np.isnan(plain)
    return {
        "label": label,
        "setting_id": None,
        "runs": len(seeds),
        "expected": None,
        "points": points,
        **mean_correlation(plain, points).columns("spearman"),
        "no_spearman": _name(seeds, no_plain),
        **mean_correlation(partial, points).columns("partial"),
        "no_partial": _name(seeds, np.isnan(partial) & ~no_plain),
    }


def _name(seeds: Sequence[int], chosen: npt.NDArray[np.bool_]) -> str:
    """Return the chosen seeds as text, for example "0 3"."""
    return " ".join(str(seed) for seed, yes in zip(seeds, chosen, strict=True) if yes)
