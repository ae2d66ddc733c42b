"""Subtract the accuracy of a fresh network, which is reset at every task.

If the tasks of a stream differ in difficulty, as in `pairwise`, accuracy can fall
because the tasks become harder. So a metric can be relative: first subtract the
accuracy of a fresh network, which has learned no earlier task (intervention "fresh"),
on the same task and seed.

The fresh network has the same optimizer and hyperparameters as the setting. So the
result shows the effect of the earlier tasks, and not how well the optimizer learns a
single task. If there are no such runs, fresh networks of plain SGD with the same
learning rate are used. Two settings with the same fresh network have the same
difference before and after the subtraction, because all metrics except `peak_loss` are
linear in accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import pandas as pd

from analysis.comparing.baselines import STREAM
from analysis.records.runs import Runs, Setting, by_setting
from analysis.statistics.metrics import Metric
from trainables.usage import UsageError

FRESH = "fresh"
"""The name of the intervention that resets the network at every task."""


def runs_for(frame: pd.DataFrame, metric: Metric) -> list[Runs]:
    """Return the runs of each setting, minus fresh networks if the metric is relative.

    `frame` has records with the columns `analysis.records.runs.NEEDED` and the measure
    of the metric. The fresh networks can be of any study.

    Raises:
        UsageError: The metric is relative and there are no fresh networks.
    """
    settings = by_setting(frame, metric.measure)
    return subtract_fresh(settings, metric.name) if metric.relative else settings


def subtract_fresh(
    settings: Sequence[Runs], metric: str = "a relative metric"
) -> list[Runs]:
    """Return the runs with the accuracy of their fresh networks subtracted.

    If a seed has no complete run of the fresh network, the seed moves from `seeds` to
    `unmatched`. The fresh networks can be of several studies, and are not in the
    result.

    Raises:
        UsageError: There are no fresh networks. The message names the metric.
    """
    fresh = [runs for runs in settings if runs.setting["intervention"] == FRESH]
    if not fresh:
        raise UsageError(
            f"{metric} needs runs with the intervention fresh, but there are none: add "
            "Setting(..., intervention=Fresh()) to the study and run the study again"
        )
    return [
        _subtract(runs, _references(runs, fresh))
        for runs in settings
        if runs.setting["intervention"] != FRESH
    ]


def _references(runs: Runs, fresh: Sequence[Runs]) -> list[Runs]:
    """Return the fresh networks to subtract from a setting.

    They have the optimizer of the setting, or SGD if no fresh network has it.
    """
    alike = [other for other in fresh if _are_alike(other.setting, runs.setting)]
    for optimizer in (runs.setting["optimizer"], "sgd"):
        if own := [r for r in alike if r.setting["optimizer"] == optimizer]:
            return own
    return []


def _are_alike(reference: Setting, setting: Setting) -> bool:
    """Return whether two settings differ only in the optimizer and the intervention.

    The base, the stream and the network must be the same. Another hyperparameter that
    is None in one of the two settings is ignored, because the method of this setting
    does not have it.
    """
    return all(
        name in ("intervention", "optimizer")
        or reference[name] == setting[name]
        or (name not in ("base", *STREAM) and None in (reference[name], setting[name]))
        for name in reference
    )


def _subtract(runs: Runs, references: Sequence[Runs]) -> Runs:
    """Subtract from each run the accuracy of the reference run with the same seed."""
    rows = {
        seed: row
        for reference in reversed(references)  # so that the first reference wins
        for seed, row in zip(reference.seeds, reference.matrix, strict=True)
    }
    matched = runs.select_seeds(rows.keys())
    matrix = matched.matrix
    if matched.seeds:
        matrix = matrix - np.stack([rows[seed] for seed in matched.seeds])
    return attrs.evolve(
        runs,
        seeds=matched.seeds,
        matrix=matrix,
        unmatched=tuple(seed for seed in runs.seeds if seed not in rows),
    )
