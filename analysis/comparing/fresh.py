"""Fresh networks: accuracy minus that of a network that learned no task before.

On a stream whose tasks differ in difficulty, as `pairwise`, falling accuracy may mean
that the stream becomes harder. So a metric can be taken of the difference, task by task
and seed by seed, to a network that is reset at every task (intervention "fresh"): it
learns the same task from weights of the same distribution, but has no past.

The fresh network is the one with the same optimizer and hyperparameters: plasticity is
the ability to learn that training has left, not how well an optimizer learns a single
task. Without one, plain SGD with the same learning rate takes its place; a difference
between two settings that share a fresh network does not depend on it, because every
metric is linear in accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import pandas as pd

from analysis.records.runs import Runs, by_setting
from analysis.statistics.metrics import Metric
from trainables.usage import UsageError

FRESH = "fresh"
"""The intervention that resets the network at every task."""

SUBSTITUTE = "sgd"
"""The optimizer whose fresh networks replace those that were not run."""


def runs_for(frame: pd.DataFrame, metric: Metric) -> list[Runs]:
    """Return the runs of each setting, with the accuracy that a metric is taken of.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy; for a
            relative metric also those of the fresh networks, of any study.
        metric: The metric.

    Raises:
        UsageError: The metric is relative and there is no fresh network.
    """
    settings = by_setting(frame)
    return subtract_fresh(settings) if metric.relative else settings


def subtract_fresh(settings: Sequence[Runs]) -> list[Runs]:
    """Return the runs with the accuracy of their fresh networks subtracted.

    A seed without a complete run of the fresh network has no row in the matrix; it is
    `unmatched`. Fresh networks of several studies are joined by seed. They themselves
    are left out.

    Raises:
        UsageError: There is no fresh network.
    """
    fresh = [runs for runs in settings if runs.setting["intervention"] == FRESH]
    if not fresh:
        raise UsageError(
            "a relative metric needs runs with the intervention fresh, and there are "
            "none: add Setting(..., intervention=Fresh()) to the study and run it"
        )
    return [
        _subtract(runs, _references(runs, fresh))
        for runs in settings
        if runs.setting["intervention"] != FRESH
    ]


def _references(runs: Runs, fresh: Sequence[Runs]) -> list[Runs]:
    """Return the fresh networks of a setting, of its own optimizer if there are any."""
    candidates = [reference for reference in fresh if _fits(reference, runs)]
    optimizer = runs.setting["optimizer"]
    own = [other for other in candidates if other.setting["optimizer"] == optimizer]
    return own or candidates


def _fits(fresh: Runs, runs: Runs) -> bool:
    """Return whether they differ only in the intervention, or in what SGD lacks."""
    reference, setting = fresh.setting, runs.setting
    if reference["optimizer"] not in (setting["optimizer"], SUBSTITUTE):
        return False
    return all(
        reference[name] == setting[name]
        for name in reference
        if name not in ("intervention", "optimizer")
        and reference[name] is not None
        and setting[name] is not None
    )


def _subtract(runs: Runs, references: Sequence[Runs]) -> Runs:
    """Return the runs minus those of the references, seed by seed."""
    rows = {
        seed: row
        for reference in reversed(references)  # so that the first one counts
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
