"""Compare every setting with a baseline, and the winner on seeds of its own.

Each setting is compared with the baseline with all else equal ("matched") and with the
best of the baseline's settings ("best"). The best is chosen by mean accuracy, on the
seeds that all settings have: by a metric of the trend alone, a setting that learns
nothing would win, because it has nothing to lose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.comparing.baselines import find_baseline
from analysis.comparing.fresh import runs_for
from analysis.comparing.verdicts import judge, pair_up
from analysis.comparing.winners import best_baselines, common_seeds, winners
from analysis.records.runs import Runs, by_problem
from analysis.statistics.metrics import METRICS, Metric

CHOSEN_BY = "mean_accuracy"
"""The metric that chooses the best setting."""

AGAINST = ("matched", "best")


def compare(
    frame: pd.DataFrame,
    metric: Metric = METRICS["plasticity_loss"],
    baseline: str = "sgd",
    study: str | None = None,
    problem: str | None = None,
) -> pd.DataFrame:
    """Return two rows per setting: against the matched baseline, and against its best.

    Columns: study, setting_id and the columns of the setting; label, a short name;
    against ("matched" or "best"); baseline_id and baseline_label, null where there is
    none; and those of `verdicts.judge`. The seeds are those that all settings of a
    problem should have; seeds that only some have are left to `confirm`.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
        metric: The metric to compare.
        baseline: An optimizer, an intervention or "none".
        study: Only this study; fresh networks may come from any.
        problem: Only this problem.

    Raises:
        UsageError: The baseline is unknown, or a relative metric has no fresh network.
    """
    settings = _select_runs(frame, metric, study, problem)
    base = find_baseline(baseline, settings)
    groups, names = base.groups(settings), _labels(settings)
    chosen_by = METRICS[CHOSEN_BY]
    bests = best_baselines(
        base, _select_runs(frame, chosen_by, study, problem), chosen_by
    )
    rows = []
    for runs in settings:
        if base.has(runs):
            continue
        group = groups.get(base.group(runs), [])
        best = bests.get(base.group(runs))
        best_of_group = [other for other in group if best and other.key == best.key]
        for against, others in zip(
            AGAINST, (base.matches(runs, group), best_of_group), strict=True
        ):
            # Several matches are ambiguous: treat them as none.
            other = others[0] if len(others) == 1 else None
            seeds = _usual_seeds(runs) | (_usual_seeds(other) if other else set())
            rows.append(
                _describe(runs, other, names)
                | {"against": against}
                | pair_up(runs, other, metric, seeds)
            )
    return judge(rows, [metric])


def confirm(
    frame: pd.DataFrame,
    metric: Metric = METRICS["plasticity_loss"],
    baseline: str = "sgd",
    study: str | None = None,
    problem: str | None = None,
) -> pd.DataFrame:
    """Return how the best setting compares with the best baseline, and on which seeds.

    For each stream and way of training it (`baselines.GROUP`): the mean accuracy, which
    chose the two, and the metric if it is another. Each has a row for the seeds that
    chose, whose column against is "choosing", and one for the seeds that both settings
    have and that did not choose ("confirming"). On the choosing seeds a p-value would
    mean nothing and is null. Arguments, other columns and errors are as in `compare`.
    """
    chosen_by = METRICS[CHOSEN_BY]
    metrics = [chosen_by] if metric == chosen_by else [chosen_by, metric]
    by_metric = {each: _select_runs(frame, each, study, problem) for each in metrics}
    settings = by_metric[chosen_by]
    base = find_baseline(baseline, settings)
    common, names = common_seeds(settings), _labels(settings)
    rows = []
    for best, other in winners(base, settings, chosen_by):
        choosing = common[best.peers]
        confirming = (best.present & other.present) - choosing
        for each, measured in by_metric.items():
            runs = {runs.key: runs for runs in measured}
            for against, seeds in (("choosing", choosing), ("confirming", confirming)):
                row = pair_up(runs[best.key], runs[other.key], each, seeds)
                if against == "choosing":
                    row["p"] = np.nan
                rows.append(_describe(best, other, names) | {"against": against} | row)
    return judge(rows, metrics)


def best_settings(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return by problem the settings to confirm: the best one and the best SGD.

    For each stream and way of training it (`baselines.GROUP`), by mean accuracy on the
    seeds that all settings of the problem have. One of the two is the best of all. A
    problem with nothing to choose from has none.

    Args:
        frame: Records of one study with `NEEDED` and test_accuracy.

    Raises:
        UsageError: No setting has SGD.
    """
    chosen_by = METRICS[CHOSEN_BY]
    settings = runs_for(frame, chosen_by)
    chosen: dict[str, list[str]] = {runs.setting["problem"]: [] for runs in settings}
    for pair in winners(find_baseline("sgd", settings), settings, chosen_by):
        names = chosen[pair[0].setting["problem"]]
        names += [runs.setting_id for runs in pair if runs.setting_id not in names]
    return chosen


def _select_runs(
    frame: pd.DataFrame, metric: Metric, study: str | None, problem: str | None
) -> list[Runs]:
    """Return the runs for a metric, of one study and problem if these are named."""
    return [
        runs
        for runs in runs_for(frame, metric)
        if study in (None, runs.study) and problem in (None, runs.setting["problem"])
    ]


def _labels(settings: list[Runs]) -> dict[tuple[str, str], str]:
    """Return a label for each setting, by `Runs.key`."""
    return {
        runs.key: label
        for _, group, labels in by_problem(settings)
        for runs, label in zip(group, labels, strict=True)
    }


def _describe(
    runs: Runs, other: Runs | None, names: dict[tuple[str, str], str]
) -> dict[str, Any]:
    """Return the columns that name the two settings."""
    return {
        "study": runs.study,
        "setting_id": runs.setting_id,
        **runs.setting,
        "label": names[runs.key],
        "baseline_id": other and other.setting_id,
        "baseline_label": other and names[other.key],
    }


def _usual_seeds(runs: Runs) -> set[int]:
    """Return the seeds that a setting should have, as its peers do."""
    return (runs.present | set(runs.missing)) - set(runs.extra)
