"""Objectives: the numbers that a search maximizes or minimizes for each setting.

An objective is a metric (`analysis.statistics.metrics`) of the problem's measure, for
example test accuracy or return, averaged over the seeds.

A run that diverges counts as a bad result, not as a missing result. From the task in
which the run diverges, its measure counts as that of a network that only guesses. The
plasticity loss of the run is the largest possible loss: from perfect accuracy to
chance. Otherwise, a network that diverges in the first task would show no loss and
would be on the Pareto front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np

from analysis.statistics.metrics import METRICS, Trajectories
from trainables.setting import Setting


@attrs.frozen
class Objective:
    """How a search uses a metric as its objective.

    Attributes:
        worst: A function from the accuracy of guessing (chance) to the value of a run
            that diverged. If None, the metric is computed for such a run too. With such
            a function, the objective needs a problem whose measure is an accuracy.
        least_tasks: The smallest number of tasks for which the metric is defined.
    """

    worst: Callable[[float], float] | None = None
    least_tasks: int = 1


OBJECTIVES: dict[str, Objective] = {
    "mean_accuracy": Objective(),
    "late_accuracy": Objective(),
    "plasticity_loss": Objective(lambda chance: 1 - chance, least_tasks=2),
}
"""The objectives. Each is the name of a metric."""


def direction(name: str, measure: str) -> Literal["maximize", "minimize"]:
    """Return what a search does with an objective of a measure.

    >>> direction("mean_accuracy", "value_error")
    'minimize'
    """
    return "maximize" if METRICS[name].of(measure).higher else "minimize"


def objective_values(
    names: Iterable[str], setting: Setting, records: Sequence[Mapping[str, Any]]
) -> tuple[float, ...]:
    """Return the value of each objective for a setting, as a mean over its seeds.

    `records` has the records of the setting's runs, in any order. All seeds must have
    finished the same tasks.
    """
    seeds = sorted({row["seed"] for row in records})
    tasks, problem = len(records) // len(seeds), setting.problem
    chance = 1 / setting.outputs
    guesses = [problem.guess_in(task) for task in range(tasks)]
    values: Trajectories = np.tile(
        [chance if guess is None else guess for guess in guesses], (len(seeds), 1)
    )
    diverged = np.zeros(len(seeds), dtype=bool)
    for row in records:
        index = seeds.index(row["seed"])
        diverged[index] |= row["diverged"]
        if row[problem.measure] is not None:
            values[index, row["task"]] = row[problem.measure]
    means = []
    for name in names:
        by_seed, worst = METRICS[name](values), OBJECTIVES[name].worst
        if worst is not None:
            by_seed = np.where(diverged, worst(chance), by_seed)
        means.append(float(by_seed.mean()))
    return tuple(means)
