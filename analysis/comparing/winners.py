"""Winners: the best of many settings, and the seeds that chose it.

On the seeds that chose it, the mean of the best of many settings is too good, because
luck takes part in the choice. On other seeds, the mean is not biased. So some seeds
choose, and other seeds judge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs
import numpy as np

from analysis.comparing.baselines import Baseline, Key, method_key, stream_of
from analysis.comparing.fresh import FRESH
from analysis.records.runs import Runs
from analysis.statistics.metrics import Metric

SeedsOf = Mapping[Key, Collection[int]]
"""Maps `Runs.peers` to the seeds that choose the best setting."""


@attrs.frozen
class Seeds:
    """The seeds that choose the best setting, and the seeds that judge it."""

    choosing: frozenset[int]
    judging: frozenset[int]


def common_seeds(settings: Iterable[Runs]) -> dict[Key, set[int]]:
    """Return a dict from `Runs.peers` to the seeds that all these settings have.

    A setting has a seed if its run finished the stream or diverged. Extra seeds, which
    were run for some settings only (`--confirm-seeds`), are left out.
    """
    common: dict[Key, set[int]] = {}
    for runs in settings:
        seeds = {*runs.seeds, *runs.diverged, *runs.unmatched} - set(runs.extra)
        common[runs.peers] = common.get(runs.peers, seeds) & seeds
    return common


def halve(seeds: Iterable[int]) -> Seeds:
    """Return every second seed for choosing, and the rest of the seeds for judging.

    >>> sorted(halve(range(5)).choosing), sorted(halve(range(5)).judging)
    ([1, 3], [0, 2, 4])
    """
    ordered = sorted(seeds)
    return Seeds(frozenset(ordered[1::2]), frozenset(ordered[0::2]))


def winner(
    settings: Sequence[Runs], metric: Metric, seeds: Collection[int]
) -> Runs | None:
    """Return the setting with the best mean of a metric over the seeds.

    Return None if no setting can win, for example because there are no seeds. A setting
    that lacks a complete run with one of the seeds cannot win. A setting that resets
    its network at every task can win only if all settings do so. If two settings are
    equally good, the first of them wins.
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
        if score > best_score:  # false if the metric is undefined (NaN)
            best, best_score = runs, score
    return best


def best_baselines(
    base: Baseline, settings: Sequence[Runs], metric: Metric, choosing: SeedsOf
) -> dict[Key, Runs]:
    """Return the best setting of the baseline in each `Baseline.group`, if one can win.

    `settings` has all settings, and `metric` chooses the best ones.
    """
    bests = {
        key: winner(group, metric, choosing[group[0].peers])
        for key, group in base.groups(settings).items()
    }
    return {key: best for key, best in bests.items() if best}


def best_methods(
    base: Baseline, settings: Sequence[Runs], metric: Metric, choosing: SeedsOf
) -> list[tuple[Runs, Runs]]:
    """Return the best setting of each method with the best baseline of its group.

    So each method and the baseline have their own best learning rates. A method is left
    out if it has no winner, or if its group has no baseline.
    """
    bests = best_baselines(base, settings, metric, choosing)
    rivals: dict[Key, list[Runs]] = {}
    for runs in settings:
        if not base.has(runs) and base.group(runs) in bests:
            rivals.setdefault(method_key(runs), []).append(runs)
    pairs = []
    for group in rivals.values():
        if best := winner(group, metric, choosing[group[0].peers]):
            pairs.append((best, bests[base.group(best)]))
    return pairs


def best_of_each_method(
    settings: Sequence[Runs], metric: Metric, choosing: SeedsOf
) -> list[Runs]:
    """Return the best setting of each method, on streams that have several methods.

    Networks that are reset at every task do not count as a method.
    """
    streams: dict[Key, dict[Key, list[Runs]]] = {}
    for runs in settings:
        if runs.setting["intervention"] != FRESH:
            methods = streams.setdefault(stream_of(runs), {})
            methods.setdefault(method_key(runs), []).append(runs)
    bests = [
        winner(group, metric, choosing[group[0].peers])
        for methods in streams.values()
        if len(methods) > 1
        for group in methods.values()
    ]
    return [best for best in bests if best]
