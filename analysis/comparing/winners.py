"""Choose the best of many settings, and the seeds to choose it on.

The best of many settings wins partly by luck. So its mean is too high on the seeds on
which it was chosen. Its mean on other seeds is unbiased.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from analysis.comparing.baselines import Baseline
from analysis.comparing.fresh import FRESH
from analysis.records.runs import Runs
from analysis.statistics.metrics import Metric


def common_seeds(settings: Iterable[Runs]) -> dict[tuple[Any, ...], set[int]]:
    """Return the seeds with which the run of every setting finished or diverged.

    The best setting is chosen on these seeds only. Seeds that only some settings have,
    for example those of `--confirm-seeds`, are not used to choose.

    Returns:
        A dict whose keys are `Runs.peers`: one entry for all settings that should have
        the same seeds.
    """
    common: dict[tuple[Any, ...], set[int]] = {}
    for runs in settings:
        seeds = {*runs.seeds, *runs.diverged, *runs.unmatched}
        common[runs.peers] = common.get(runs.peers, seeds) & seeds
    return common


def winner(
    settings: Sequence[Runs], metric: Metric, seeds: Collection[int]
) -> Runs | None:
    """Return the setting with the best mean of a metric over the seeds, or None.

    A setting can win only if it has a complete run with every seed. A setting with the
    intervention "fresh" (the network is reset at every task) can win only if all
    settings have this intervention. If means are equal, the first setting wins.
    """
    if not seeds:
        return None
    best, best_score = None, -np.inf
    continual = [runs for runs in settings if runs.setting["intervention"] != FRESH]
    for runs in continual or settings:
        if not set(seeds) <= set(runs.seeds):
            continue
        mean = float(metric(runs.select_seeds(seeds).matrix).mean())
        score = mean if metric.higher else -mean
        if score > best_score:  # False if the metric is undefined (NaN)
            best, best_score = runs, score
    return best


def winners(
    base: Baseline, settings: Sequence[Runs], metric: Metric
) -> list[tuple[Runs, Runs]]:
    """Return pairs of the best setting and the best baseline setting.

    There is one pair for each combination of tasks, length of training and network
    (`baselines.GROUP`), or none if no setting can win. The best setting is chosen among
    the settings that have a baseline setting to compare with. The two settings are
    chosen on the seeds that all settings have.
    """
    seeds = common_seeds(settings)
    bests = best_baselines(base, settings, metric)
    rivals: dict[tuple[Any, ...], list[Runs]] = {}
    for runs in settings:
        if not base.has(runs) and base.group(runs) in bests:
            rivals.setdefault(base.stream(runs), []).append(runs)
    pairs = []
    for group in rivals.values():
        if best := winner(group, metric, seeds[group[0].peers]):
            pairs.append((best, bests[base.group(best)]))
    return pairs


def best_baselines(
    base: Baseline, settings: Sequence[Runs], metric: Metric
) -> dict[tuple[Any, ...], Runs]:
    """Return the best baseline setting of each group of comparable settings.

    The keys are `Baseline.group`. A group in which no baseline setting can win is left
    out.
    """
    seeds = common_seeds(settings)
    bests = {
        key: winner(group, metric, seeds[group[0].peers])
        for key, group in base.groups(settings).items()
    }
    return {key: best for key, best in bests.items() if best}
