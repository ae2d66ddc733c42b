"""Compare every setting, and the best of each method, with a baseline.

Three comparisons answer three questions.

    matched     Does it help to change this one part, if all other values are equal?
    best        Is this setting better than the best baseline? One half of the seeds
                chooses the best baseline, the other half judges.
    method      Is the method better, if each method has its own best learning rate and
                other hyperparameters? One half of the seeds chooses the best setting of
                each method and of the baseline, the other half judges. But if the study
                has seeds of `--confirm-seeds`, these seeds judge, and all other seeds
                choose.

The best setting is chosen by its level, never by its trend, because a setting that
learns nothing has nothing to lose.
"""

from __future__ import annotations

import functools
from typing import Any

import attrs
import pandas as pd

from analysis.comparing.baselines import Baseline, Key, find_baseline, method_key
from analysis.comparing.chance import at_chance
from analysis.comparing.fresh import subtract_fresh
from analysis.comparing.verdicts import judge, pair_up
from analysis.comparing.winners import (
    Seeds,
    best_baselines,
    best_methods,
    best_of_each_method,
    common_seeds,
    halve,
)
from analysis.records.measure import own_measure
from analysis.records.runs import Runs, by_problem, by_setting
from analysis.statistics.metrics import DEFAULT, MEASURES, METRICS, Metric

AGAINST = ("matched", "best")

BASELINE = "sgd"
"""The baseline of a comparison if no other baseline is named."""

MARGIN = 0.005
"""A smaller difference counts as zero: half a point of accuracy, 0.005 nats of loss."""


@attrs.frozen(kw_only=True)
class Question:
    """What to compare. If the study or the problem is None, compare all of them.

    Differences below `margin` count as zero. Its default depends on the measure.
    """

    metric: Metric = METRICS[DEFAULT]
    baseline: str = BASELINE
    study: str | None = None
    problem: str | None = None
    margin: float = attrs.Factory(
        lambda self: MEASURES[self.metric.measure].margin, takes_self=True
    )

    def is_about(self, runs: Runs) -> bool:
        """Return whether a setting belongs to the study and the problem."""
        problem = runs.setting["problem"]
        return self.study in (None, runs.study) and self.problem in (None, problem)


def compare(frame: pd.DataFrame, question: Question | None = None) -> pd.DataFrame:
    """Compare each setting with its matched baseline and with the best baseline.

    Seeds that only some settings have are not used: `confirm` uses them. `frame` has
    records with `analysis.records.runs.NEEDED` and the metric's measure.

    Returns:
        Two rows per setting. Columns: study, setting_id and the columns of the setting;
        label, a short name; against ("matched" or "best"); baseline_id and
        baseline_label, null if there is no baseline; at_chance, which of the two
        settings learned nothing ("setting", "baseline", "both" or ""); and the columns
        of `verdicts.judge`.

    Raises:
        UsageError: The baseline is unknown, or the metric is relative and the records
            have no fresh network.
    """
    question = question or Question()
    return _compare(_prepare(frame, question), question)


def compare_and_confirm(
    frame: pd.DataFrame, question: Question
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the results of `compare` and of `confirm` in less time than both calls.

    If the first result is empty, the second is empty too.
    """
    data = _prepare(frame, question)
    return _compare(data, question), _confirm(data, question)


def confirm(frame: pd.DataFrame, question: Question | None = None) -> pd.DataFrame:
    """Compare the best setting of each method with the best baseline.

    Each method has two rows. The row with "choosing" in the column against is for the
    seeds that chose the best setting. A p-value on these seeds would mean nothing, so
    the p-value is null. The other row is for the seeds that judge. Its column against
    is "confirming" if these seeds were run to confirm the best settings
    (`--confirm-seeds`), or "held out" if they are the other half of the study's seeds.
    Arguments, other columns and errors are as in `compare`.
    """
    question = question or Question()
    return _confirm(_prepare(frame, question), question)


def best_settings(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return the settings to confirm: those of each method with the best late level.

    The level is that of the problem's measure, for example test accuracy or return. All
    seeds that the settings of a problem share choose the best settings. The best SGD
    settings are among them. If SGD cannot be compared with a method, this method has no
    setting to confirm. But if the problem has no SGD at all, the methods are compared
    with each other.

    Return a dict from each problem to setting_ids. A problem with nothing to compare
    has an empty list. `frame` has records of one study, with `NEEDED` and the measures
    of its problems.
    """
    chosen = {}
    for problem, records in frame.groupby("problem", sort=False, observed=True):
        level = METRICS[DEFAULT].of(own_measure(str(problem)))
        group = by_setting(records, level.measure)
        common = common_seeds(group)
        if any(runs.setting["optimizer"] == BASELINE for runs in group):
            pairs = best_methods(find_baseline(BASELINE, group), group, level, common)
            best = [runs for pair in pairs for runs in pair]
        else:
            best = best_of_each_method(group, level, common)
        chosen[str(problem)] = list(dict.fromkeys(runs.setting_id for runs in best))
    return chosen


@attrs.frozen
class _Data:
    """The runs that a `Question` compares, and their labels."""

    runs: list[Runs]  # the settings, with the values that are compared
    levels: list[Runs]  # the settings, with the values that choose the best ones
    level: Metric  # the metric that chooses
    base: Baseline
    common: dict[Key, set[int]]  # `Runs.peers` -> the seeds that all settings have
    halves: dict[Key, Seeds]  # the same seeds in two halves
    choosing: dict[Key, frozenset[int]]  # the half that chooses
    by_key: dict[Key, Runs]  # `Runs.key` -> an entry of `runs`
    names: dict[Key, str]  # `Runs.key` -> label of the setting
    at_chance: set[Key]  # `Runs.key` of settings that learned nothing

    def describe(self, runs: Runs, other: Runs | None) -> dict[str, Any]:
        """Return the columns that name two settings, and the column at_chance."""
        roles = {"setting": runs, "baseline": other}
        idle = [name for name, r in roles.items() if r and r.key in self.at_chance]
        return {
            "study": runs.study,
            "setting_id": runs.setting_id,
            **runs.setting,
            "label": self.names[runs.key],
            "baseline_id": other and other.setting_id,
            "baseline_label": other and self.names[other.key],
            "at_chance": "both" if len(idle) == 2 else "".join(idle),
        }


def _prepare(frame: pd.DataFrame, question: Question) -> _Data:
    """Return the runs that a question is about; errors are as in `compare`."""
    metric = question.metric
    everything = by_setting(frame, metric.measure)
    measured = everything
    if metric.relative:
        measured = subtract_fresh(everything, metric.name)
    runs, levels = (
        list(filter(question.is_about, settings)) for settings in (measured, everything)
    )
    common = common_seeds(levels)
    halves = {peers: halve(seeds) for peers, seeds in common.items()}
    return _Data(
        runs=runs,
        levels=levels,
        level=metric.level.absolute,
        base=find_baseline(question.baseline, levels),
        common=common,
        halves=halves,
        choosing={peers: seeds.choosing for peers, seeds in halves.items()},
        by_key={own.key: own for own in runs},
        names={
            own.key: label
            for _, group, labels in by_problem(runs)
            for own, label in zip(group, labels, strict=True)
        },
        at_chance={own.key for own in levels if at_chance(own, metric.measure)},
    )


def _compare(data: _Data, question: Question) -> pd.DataFrame:
    """Return the rows of `compare` for each setting outside of the baseline."""
    matches = data.base.matches(data.runs)
    bests = best_baselines(data.base, data.levels, data.level, data.choosing)
    rows = []
    for runs in data.runs:  # the runs of one setting
        if data.base.has(runs):
            continue
        matched, best = matches.get(runs.key), bests.get(data.base.group(runs))
        # Give `pair_up` the seeds of both settings, so that it lists what one lacks.
        either = runs.usual_seeds | (matched.usual_seeds if matched else set())
        judging = data.halves[runs.peers].judging
        for against, other, seeds in (
            ("matched", matched, either),
            ("best", best and data.by_key.get(best.key), judging),
        ):
            rows.append(
                data.describe(runs, other)
                | {"against": against}
                | pair_up(runs, other, question.metric, seeds, question.margin)
            )
    return judge(rows, question.metric, question.margin)


def _confirm(data: _Data, question: Question) -> pd.DataFrame:
    rows = []
    for best, other, seeds, kind in _duels(data):
        if best.key not in data.by_key or other.key not in data.by_key:
            continue  # a fresh network, which has no relative metric
        pair = data.by_key[best.key], data.by_key[other.key]
        for against, part in (("choosing", seeds.choosing), (kind, seeds.judging)):
            row = pair_up(*pair, question.metric, part, question.margin)
            if against == "choosing":
                row["p"], row["same"] = float("nan"), False
            rows.append(data.describe(*pair) | {"against": against} | row)
    return judge(rows, question.metric, question.margin)


def _duels(data: _Data) -> list[tuple[Runs, Runs, Seeds, str]]:
    """Return the best setting of each method, the best baseline, and the seeds.

    The last entry of a tuple says which seeds judge: "held out" or "confirming".
    """
    best_of = functools.partial(best_methods, data.base, data.levels, data.level)
    duels = {
        method_key(best): (best, other, data.halves[best.peers], "held out")
        for best, other in best_of(data.choosing)
    }
    for best, other in best_of(data.common):
        if judging := frozenset(best.extra) & frozenset(other.extra):
            seeds = Seeds(frozenset(data.common[best.peers]), judging)
            duels[method_key(best)] = (best, other, seeds, "confirming")
    return list(duels.values())
