"""Compare every setting with a baseline, and test the winner on other seeds.

Each setting is compared with two baseline settings: the one that is equal in everything
else ("matched") and the best one ("best"). The best setting is the one with the highest
mean accuracy over the seeds that all settings have. A metric such as plasticity loss
would choose a setting that learns nothing, because that setting has nothing to lose.
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
"""The best setting is the one with the highest value of this metric."""

AGAINST = ("matched", "best")
"""The two baseline settings that each setting is compared with."""


def compare(
    frame: pd.DataFrame,
    metric: Metric = METRICS["plasticity_loss"],
    baseline: str = "sgd",
    study: str | None = None,
    problem: str | None = None,
) -> pd.DataFrame:
    """Compare each setting with the baseline; return two rows per setting.

    The first row ("matched") is the comparison with the baseline setting that is equal
    in everything else. The second row ("best") is the comparison with the best baseline
    setting.

    Columns: study, setting_id and the columns of the setting; label, a short name;
    against ("matched" or "best"); baseline_id and baseline_label, null if there is no
    such baseline; and the columns that `verdicts.judge` returns. Seeds that only a few
    settings have are not used here; `confirm` uses them.

    Args:
        frame: Records with the columns `analysis.records.runs.NEEDED` and
            test_accuracy.
        metric: The metric to compare.
        baseline: An optimizer, an intervention, or "none" for no intervention.
        study: Compare only the settings of this study. The fresh networks (reset at
            every task) of a relative metric may come from other studies.
        problem: Compare only the settings of this problem.

    Raises:
        UsageError: The baseline is unknown, or the metric is relative and there are no
            runs with the intervention "fresh".
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
            # With several matches it is not clear which one is the baseline, so use
            # none of them.
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
    """Compare the best setting with the best baseline setting; return the rows.

    The two settings are chosen by mean accuracy, separately for each combination of
    tasks, length of training and network (`baselines.GROUP`). They are compared by mean
    accuracy and by `metric`. Each metric has two rows, which differ in column against:

    - "choosing": the seeds on which the two settings were chosen. A p-value on these
      seeds would be too small, so p is null.
    - "confirming": the seeds that the two settings have and that were not used to
      choose them.

    The arguments, the other columns and the errors are those of `compare`.
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
    """Return the setting_ids of the best setting and of the best SGD setting.

    `--confirm-seeds` runs these settings with new seeds. They are chosen by mean
    accuracy over the seeds that all settings of the problem have, separately for each
    combination of tasks, length of training and network (`baselines.GROUP`).

    Args:
        frame: Records of one study with the columns `analysis.records.runs.NEEDED` and
            test_accuracy.

    Returns:
        The setting_ids of each problem. The list is empty if nothing can be chosen.

    Raises:
        UsageError: No setting has the optimizer SGD.
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
    """Return the runs of each setting, with the accuracy that a metric needs.

    If a study or a problem is given, return only its settings.
    """
    return [
        runs
        for runs in runs_for(frame, metric)
        if study in (None, runs.study) and problem in (None, runs.setting["problem"])
    ]


def _labels(settings: list[Runs]) -> dict[tuple[str, str], str]:
    """Return a dict from `Runs.key` to the short name of the setting."""
    return {
        runs.key: label
        for _, group, labels in by_problem(settings)
        for runs, label in zip(group, labels, strict=True)
    }


def _describe(
    runs: Runs, other: Runs | None, names: dict[tuple[str, str], str]
) -> dict[str, Any]:
    """Return the columns that identify a setting and its baseline setting."""
    return {
        "study": runs.study,
        "setting_id": runs.setting_id,
        **runs.setting,
        "label": names[runs.key],
        "baseline_id": other and other.setting_id,
        "baseline_label": other and names[other.key],
    }


def _usual_seeds(runs: Runs) -> set[int]:
    """Return the seeds that a setting should have, without its `extra` seeds."""
    return (runs.present | set(runs.missing)) - set(runs.extra)
