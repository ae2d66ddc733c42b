"""Winners: the best of many settings, and the seeds that chose it.

The mean of the best of many is too good on the seeds that chose it, even if all are
equal, because luck chose it too. On other seeds it is fair.
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
    """Return by `Runs.peers` the seeds with which every setting finished or diverged.

    Only these may choose the best. Seeds that only some settings have, as those of
    `--confirm-seeds`, choose nothing.
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

    A setting that lacks a complete run with one of the seeds cannot win, nor can one
    whose network is reset at every task, unless all are. Of equals the first wins.
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
        if score > best_score:  # never true of NaN, an undefined metric
            best, best_score = runs, score
    return best


def winners(
    base: Baseline, settings: Sequence[Runs], metric: Metric
) -> list[tuple[Runs, Runs]]:
    """Return the best setting and the best baseline of each stream and training.

    The setting is the best of those that have a baseline to be compared with. Both are
    chosen on the seeds that all settings have. Where nothing can win there is no pair.
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
    """Return by `Baseline.group` the best baseline, if one can win."""
    seeds = common_seeds(settings)
    bests = {
        key: winner(group, metric, seeds[group[0].peers])
        for key, group in base.groups(settings).items()
    }
    return {key: best for key, best in bests.items() if best}
