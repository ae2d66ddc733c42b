"""Winners: the best of many settings, and the seeds that chose it.

The mean of the best of many is too good on the seeds that chose it, though all be
equal: it was chosen for its luck too. On seeds that did not choose it, it is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from analysis.comparing.baselines import Baseline
from analysis.comparing.fresh import FRESH
from analysis.records.runs import Runs
from analysis.statistics.metrics import Metric


def common_seeds(found: Iterable[Runs]) -> dict[tuple[Any, ...], set[int]]:
    """Return by `Runs.peers` the seeds of which every setting has what came out.

    That is a whole run, or one that diverged. What is best may be chosen on these
    only; seeds that only some have, as those of `--confirm-seeds`, choose nothing.
    """
    common: dict[tuple[Any, ...], set[int]] = {}
    for runs in found:
        mine = {*runs.seeds, *runs.diverged, *runs.unmatched}
        common[runs.peers] = common.get(runs.peers, mine) & mine
    return common


def winner(
    found: Iterable[Runs], metric: Metric, seeds: Collection[int]
) -> Runs | None:
    """Return the setting with the best mean of a metric over the given seeds.

    A setting that lacks one of the seeds, or diverged with it, cannot win, nor can one
    whose network is reset at every task (`fresh`), unless all of them are. Of equals
    the first wins. None: nothing can win.

    Args:
        found: The settings to choose from.
        metric: Of the matrices.
        seeds: Those to choose on.
    """
    best: tuple[float, Runs] | None = None
    if not seeds:
        return None
    found = list(found)
    continual = [one for one in found if one.setting["intervention"] != FRESH]
    for runs in continual or found:
        if not set(seeds) <= set(runs.seeds):
            continue
        mean = float(metric(runs.on(seeds).matrix).mean())
        score = mean if metric.higher else -mean
        # a metric that is undefined, as a slope of one task, has a NaN and cannot win
        if score == score and (best is None or score > best[0]):
            best = score, runs
    return best and best[1]


def winners(
    base: Baseline, found: Sequence[Runs], metric: Metric
) -> list[tuple[Runs, Runs]]:
    """Return the best setting and the best baseline of each stream and training.

    The setting is the best of those that have a baseline to be compared with; the
    baseline is the best of those. Both are chosen on the seeds that all settings have.
    Where nothing can win there is no pair.
    """
    seeds = common_seeds(found)
    bests = best_baselines(base, found, metric)
    rivals: dict[tuple[Any, ...], list[Runs]] = {}
    for runs in found:
        if not base.has(runs) and base.group(runs) in bests:
            rivals.setdefault(base.stream(runs), []).append(runs)
    pairs = []
    for group in rivals.values():
        if best := winner(group, metric, seeds[group[0].peers]):
            pairs.append((best, bests[base.group(best)]))
    return pairs


def best_baselines(
    base: Baseline, found: Sequence[Runs], metric: Metric
) -> dict[tuple[Any, ...], Runs]:
    """Return by `Baseline.group` the best of the baseline's settings, if any can be."""
    seeds = common_seeds(found)
    bests = {
        group: winner(these, metric, seeds[these[0].peers])
        for group, these in base.groups(found).items()
    }
    return {group: best for group, best in bests.items() if best}
