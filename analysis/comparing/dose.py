"""Dose and response: what the radius rho of the ascent step does to learning.

A curve has the settings that differ only in rho. Each of them is compared with the same
baseline: SGD, which has no ascent step, with all other values equal. All comparisons of
a curve use the same seeds.

The intervals of a curve are simultaneous: with a probability of 95%, they contain the
true differences at all its values of rho (`analysis.statistics.bands`). So a statement
about the whole curve, such as the largest rho that does no harm, is wrong with a
probability of at most 5%.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.baselines import find_baseline
from analysis.comparing.compare import BASELINE, Question
from analysis.records.runs import Runs, Setting, by_setting, labels
from analysis.statistics.bands import simultaneous_band
from analysis.statistics.intervals import Interval, Reals, standard_deviation
from analysis.statistics.power import detectable_effect
from trainables.usage import UsageError

CURVE = ["study", "problem", "curve"]
"""The columns with the same values in all rows of a curve."""


def dose(frame: pd.DataFrame, question: Question) -> pd.DataFrame:
    """Compare each setting that has an ascent step with its baseline, SGD.

    `frame` has records with `analysis.records.runs.NEEDED` and the metric's measure.
    The metric must be a level. The baseline of the question is not used.

    Return one row per setting: curve by curve, and sorted by rho. A setting without a
    matched SGD setting has no row. Columns: study, setting_id and the columns of the
    setting; curve, the label of the curve, without rho; method, the label without rho
    and lr; measure; pairs, the number of seeds; baseline_mean, the mean of the metric
    without an ascent step; difference, lo and hi, the mean difference and its
    simultaneous interval; beside, beside_lo and beside_hi, the same for the trend over
    the stream; detectable, the smallest true difference that is found with a
    probability of 80%; diverged_seeds; harmless, whether a loss of the margin or more
    is ruled out; and verdict:

    - better, worse: the interval of the difference excludes 0
    - the same: the interval contains 0 and lies within the margin
    - no worse: the interval contains 0, and a loss of the margin or more is ruled out
    - undecided: the interval contains 0, and a loss of the margin is possible
    - diverged: at least one run of the setting diverged
    - n/a: there are fewer than two seeds

    Raises:
        UsageError: No setting has an ascent step and a baseline.
    """
    settings = by_setting(frame, question.metric.measure)
    pairs = list(curves(list(filter(question.is_about, settings))))
    names = _names([curve for curve, _ in pairs])
    rows = [
        row
        for (curve, baseline), name in zip(pairs, names, strict=True)
        for row in _respond(curve, baseline, name, question)
    ]
    if not rows:
        raise UsageError(
            "there is nothing to compare: add a setting with a rho, for example of "
            "SAM, and SGD with the same learning rate, batch size and so on"
        )
    return pd.DataFrame(rows)


def answers(data: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each curve of `dose`, with what the whole curve shows.

    Columns: those of `CURVE`; rhos, the number of values of rho; least_rho and
    most_rho; good_up_to, the largest rho up to which all values of rho are harmless;
    worse_from, the smallest rho that is worse or diverged, even if it is worse by less
    than the margin; better_at, the values of rho that are better, as text; detectable,
    the largest `detectable` of the undecided settings. good_up_to, worse_from and
    detectable are NaN if the curve has no such setting.
    """
    rows = []
    for key, curve in data.groupby(CURVE, sort=False):
        rho, verdicts = curve["rho"], curve["verdict"]
        rows.append(
            dict(zip(CURVE, key, strict=True))
            | {
                "rhos": len(curve),
                "least_rho": rho.min(),
                "most_rho": rho.max(),
                "good_up_to": rho[curve["harmless"].cummin()].max(),
                "worse_from": rho[verdicts.isin(["worse", "diverged"])].min(),
                "better_at": ", ".join(f"{r:g}" for r in rho[verdicts == "better"]),
                "detectable": curve["detectable"][verdicts == "undecided"].max(),
            }
        )
    return pd.DataFrame(rows)


def curves(settings: Sequence[Runs]) -> Iterator[tuple[list[Runs], Runs]]:
    """Yield the settings of each curve, sorted by rho, and their baseline."""
    if not any(runs.setting["optimizer"] == BASELINE for runs in settings):
        return
    matches = find_baseline(BASELINE, settings).matches(settings)
    own: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
    for runs in settings:
        if runs.setting.get("rho") and runs.key in matches:
            others = without(runs.setting, "rho")
            own[runs.study, matches[runs.key].key, *others.values()].append(runs)
    for curve in own.values():
        ordered = sorted(curve, key=lambda runs: runs.setting["rho"])
        yield ordered, matches[curve[0].key]


def without(setting: Setting, *names: str) -> Setting:
    """Return a copy of a setting, with None in the named columns."""
    return setting | dict.fromkeys(names)


def _names(curves: Sequence[list[Runs]]) -> list[dict[str, str]]:
    """Return two labels of each curve: curve, which has the lr, and method without it.

    The labels depend only on the settings of the same study and problem.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, curve in enumerate(curves):
        groups[curve[0].study, curve[0].setting["problem"]].append(i)
    names: list[dict[str, str]] = [{}] * len(curves)
    for own in groups.values():
        settings = [without(curves[i][0].setting, "rho") for i in own]
        methods = [without(setting, "lr") for setting in settings]
        for i, name, method in zip(own, labels(settings), labels(methods), strict=True):
            names[i] = {"curve": name, "method": method}
    return names


def _respond(
    curve: Sequence[Runs], baseline: Runs, names: Mapping[str, str], question: Question
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one curve."""
    metric, whole = question.metric, [runs for runs in curve if not runs.diverged]
    seeds = set(baseline.seeds).intersection(*(runs.seeds for runs in whole))
    base = baseline.select_seeds(seeds).matrix
    own = [runs.select_seeds(seeds).matrix for runs in whole]
    level = _differences(metric, own, base)
    band = simultaneous_band(level)
    beside = simultaneous_band(_differences(metric.beside, own, base))
    spread = standard_deviation(level) if len(seeds) > 1 else np.full(len(own), np.nan)
    for runs in curve:
        row = {
            "study": runs.study,
            "setting_id": runs.setting_id,
            **runs.setting,
            **names,
            "measure": metric.measure,
            "pairs": 0,
            "baseline_mean": metric(base).mean() if seeds else np.nan,
            **dict.fromkeys(("difference", "lo", "hi"), np.nan),
            **dict.fromkeys(("beside", "beside_lo", "beside_hi", "detectable"), np.nan),
            "diverged_seeds": " ".join(map(str, runs.diverged)),
            "harmless": False,
            "verdict": "diverged",
        }
        if not runs.diverged:
            i = whole.index(runs)
            mean, lo, hi = (float(end[i]) for end in band)
            worst = lo if metric.higher else -hi
            row |= {
                "pairs": len(seeds),
                **{"difference": mean, "lo": lo, "hi": hi},
                **Interval(*(end[i] for end in beside)).columns("beside"),
                "detectable": spread[i] * detectable_effect(len(seeds), len(whole)),
                "harmless": worst > -question.margin,
                "verdict": _judge(lo, hi, question.margin, metric.higher),
            }
        yield row


def _differences(
    metric: Callable[[Reals], Reals], own: Sequence[Reals], base: Reals
) -> Reals:
    """Return each setting's metric minus the baseline's, shape (seeds, settings)."""
    differences = [metric(matrix) - metric(base) for matrix in own]
    return np.reshape(differences, (len(own), len(base))).T


def _judge(lo: float, hi: float, margin: float, higher: bool) -> str:
    """Return the verdict on a difference with the interval from lo to hi."""
    if np.isnan(lo):
        return "n/a"
    if not higher:
        lo, hi = -hi, -lo
    if lo > 0 or hi < 0:
        return "better" if lo > 0 else "worse"
    if lo <= -margin:
        return "undecided"
    return "the same" if hi < margin else "no worse"
