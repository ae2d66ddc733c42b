"""Fresh networks: accuracy less that of a network that learned no task before.

On a stream whose tasks differ in difficulty, as `pairwise`, accuracy that falls may be
a stream that becomes harder. So a metric is taken of the difference, task by task and
seed by seed, to a network that is reset at every task (intervention "fresh"): it met
the same task from weights of the same kind, but has no past.

Which fresh network? The one trained by the same optimizer with the same
hyperparameters, for plasticity is what training has left of the ability to learn, and
not how well an optimizer learns a single task. Where the records have none, that of
plain SGD with the same learning rate; a difference between two settings that share a
fresh network does not depend on it, since every metric is linear in accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.records.runs import Runs, by_setting
from analysis.statistics.metrics import Metric
from trainables.usage import UsageError

FRESH = "fresh"
"""The intervention that resets the network at every task."""

SUBSTITUTE = "sgd"
"""The optimizer whose fresh networks stand in for those that were not run."""


def runs_for(frame: pd.DataFrame, metric: Metric) -> list[Runs]:
    """Return the runs of each setting, with the accuracy that a metric is taken of.

    Args:
        frame: Records with `runs.NEEDED` and test_accuracy; for a relative
            metric, those of the fresh networks too, of this study or another.
        metric: What is to be taken of the matrices.

    Raises:
        UsageError: The metric is relative and there is no fresh network at all.
    """
    found = by_setting(frame)
    return less_fresh(found) if metric.relative else found


def less_fresh(found: Sequence[Runs]) -> list[Runs]:
    """Return the runs with the accuracy of their fresh networks taken off.

    A seed without a whole run of the fresh network has none in the matrix; it stands
    among the `unmatched`. Fresh networks of different studies are joined, by seed; they
    themselves are left out.

    Raises:
        UsageError: There is no fresh network at all.
    """
    fresh = [runs for runs in found if runs.setting["intervention"] == FRESH]
    if not fresh:
        raise UsageError(
            "a relative metric needs runs with intervention fresh, and these records "
            "have none: run the study fresh, and give the folder that holds both"
        )
    return [
        _subtract(runs, _references(runs, fresh))
        for runs in found
        if runs.setting["intervention"] != FRESH
    ]


def _references(runs: Runs, fresh: Iterable[Runs]) -> list[Runs]:
    """Return the fresh networks of a setting: of its own optimizer if there are any."""
    fit = [one for one in fresh if _fits(one, runs)]
    own = [one for one in fit if one.setting["optimizer"] == runs.setting["optimizer"]]
    return own or fit


def _fits(fresh: Runs, runs: Runs) -> bool:
    """Whether they differ only in the intervention, or in what plain SGD lacks."""
    one, other = fresh.setting, runs.setting
    if one["optimizer"] not in (other["optimizer"], SUBSTITUTE):
        return False
    return all(
        one[name] == other[name]
        for name in one
        if name not in ("intervention", "optimizer")
        and one[name] is not None
        and other[name] is not None
    )


def _subtract(runs: Runs, references: Sequence[Runs]) -> Runs:
    """Return the runs less those of the references, seed by seed."""
    rows = {
        seed: row
        for reference in reversed(references)  # the first one's count
        for seed, row in zip(reference.seeds, reference.matrix, strict=True)
    }
    has = np.array([seed in rows for seed in runs.seeds], dtype=bool)
    seeds = tuple(seed for seed in runs.seeds if seed in rows)
    matrix = runs.matrix[has]
    if seeds:
        matrix = matrix - np.stack([rows[seed] for seed in seeds])
    unmatched = tuple(seed for seed in runs.seeds if seed not in rows)
    return replace(runs, seeds=seeds, matrix=matrix, unmatched=unmatched)
