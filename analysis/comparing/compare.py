"""Compare every setting, and the best of each method, with a baseline.

Three comparisons answer three questions.

    matched     Does it help to change this one part, if all other values are equal?
    best        Is this setting better than the best baseline? One half of the seeds
                chooses the best baseline, the other half judges.
    method      Is the method better, if each method has its own best learning rate and
                other hyperparameters? Some seeds choose the best setting of each method
                and of the baseline, other seeds judge. If the study has seeds of
                `--confirm-seeds`, these seeds judge. Otherwise one half of the seeds
                chooses and the other half judges.

The best setting is chosen by its level, never by its trend, because a setting that
learns nothing has nothing to lose.
"""

from __future__ import annotations

from typing import Any

import attrs
import pandas as pd

from analysis.comparing.baselines import Baseline, find_baseline, method_of, stream_of
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
from analysis.records.runs import Runs, by_problem, by_setting
from analysis.statistics.metrics import DEFAULT, MEASURE, METRICS, Metric
from trainables.problems import PROBLEMS

AGAINST = ("matched", "best")

BASELINE = "sgd"
"""The baseline of a comparison if no other baseline is named."""

MARGIN = 0.005
"""A smaller difference counts as zero: half a point of accuracy, 0.005 nats of loss."""


@attrs.frozen(kw_only=True)
class Question:
    """What to compare. If the study or the problem is None, compare all of them."""

    metric: Metric = METRICS[DEFAULT]
    baseline: str = BASELINE
    study: str | None = None
    problem: str | None = None
    margin: float = MARGIN


def compare(frame: pd.DataFrame, question: Question | None = None) -> pd.DataFrame:
    """Compare each setting with its matched baseline and with the best baseline.

    Seeds that only some settings have are not used: `confirm` uses them.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and the metric's measure.
        question: What to compare. None means `Question()`.

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

    Args:
        frame: Records of one study with `NEEDED` and the measures of its problems.

    Returns:
        A dict from each problem to setting_ids. A problem with nothing to compare has
        an empty list.
    """
    chosen = {}
    for problem, records in frame.groupby("problem", sort=False, observed=True):
        known = PROBLEMS.get(str(problem))
        level = METRICS[DEFAULT].of(known.measure if known else MEASURE)
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
    common: dict[tuple[Any, ...], set[int]]  # `Runs.peers` -> seeds of all settings
    names: dict[tuple[str, str], str]  # `Runs.key` -> label of the setting
    at_chance: set[tuple[str, str]]  # `Runs.key` of settings that learned nothing

    def describe(self, runs: Runs, other: Runs | None) -> dict[str, Any]:
        """Return the columns that name two settings, and the column at_chance."""
        roles = {"setting": runs, "baseline": other}
        idle = [
            name for name, own in roles.items() if own and own.key in self.at_chance
        ]
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
    measured = (
        subtract_fresh(everything, metric.name) if metric.relative else everything
    )

    def select(settings: list[Runs]) -> list[Runs]:
        return [
            runs
            for runs in settings
            if question.study in (None, runs.study)
            and question.problem in (None, runs.setting["problem"])
        ]

    levels = select(everything)
    base = find_baseline(question.baseline, levels)
    level = metric.level.absolute
    runs = select(measured)
    return _Data(
        runs=runs,
        levels=levels,
        level=level,
        base=base,
        common=common_seeds(levels),
        names=_labels(runs),
        at_chance={r.key for r in levels if at_chance(r, metric.measure)},
    )


def _compare(data: _Data, question: Question) -> pd.DataFrame:
    """Return the rows of `compare` for each setting outside of the baseline."""
    matches = data.base.matches(data.runs)
    halves = {peers: halve(seeds) for peers, seeds in data.common.items()}
    choosing = {peers: seeds.choosing for peers, seeds in halves.items()}
    bests = best_baselines(data.base, data.levels, data.level, choosing)
    by_key = {runs.key: runs for runs in data.runs}
    rows = []
    for runs in data.runs:  # the runs of one setting
        if data.base.has(runs):
            continue
        matched, best = matches.get(runs.key), bests.get(data.base.group(runs))
        # Give `pair_up` the seeds of both settings, so that it lists what one lacks.
        either = runs.usual_seeds | (matched.usual_seeds if matched else set())
        for against, other, seeds in (
            ("matched", matched, either),
            ("best", best and by_key.get(best.key), halves[runs.peers].judging),
        ):
            rows.append(
                data.describe(runs, other)
                | {"against": against}
                | pair_up(runs, other, question.metric, seeds, question.margin)
            )
    return judge(rows, question.metric, question.margin)


def _confirm(data: _Data, question: Question) -> pd.DataFrame:
    by_key = {runs.key: runs for runs in data.runs}
    rows = []
    for best, other, seeds, kind in _duels(data):
        if best.key not in by_key or other.key not in by_key:
            continue  # a fresh network, which has no relative metric
        pair = by_key[best.key], by_key[other.key]
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
    base, levels, common = data.base, data.levels, data.common
    halves = {peers: halve(seeds) for peers, seeds in common.items()}
    choosing = {peers: seeds.choosing for peers, seeds in halves.items()}
    duels = {
        _method(best): (best, other, halves[best.peers], "held out")
        for best, other in best_methods(base, levels, data.level, choosing)
    }
    for best, other in best_methods(base, levels, data.level, common):
        if judging := frozenset(best.extra) & frozenset(other.extra):
            seeds = Seeds(frozenset(common[best.peers]), judging)
            duels[_method(best)] = (best, other, seeds, "confirming")
    return list(duels.values())


def _method(runs: Runs) -> tuple[Any, ...]:
    return (*stream_of(runs), *method_of(runs.setting))


def _labels(settings: list[Runs]) -> dict[tuple[str, str], str]:
    """Return a dict from the `Runs.key` of each setting to its label."""
    return {
        runs.key: label
        for _, group, labels in by_problem(settings)
        for runs, label in zip(group, labels, strict=True)
    }
