"""Objectives: the numbers that a search maximizes or minimizes for each setting.

An objective is a metric of the test accuracy (`analysis.statistics.metrics`), averaged
over the seeds.

A run that diverges counts as a bad result, not as a missing result. From the task in
which the run diverges, its accuracy counts as chance, because a network of NaNs only
guesses. The plasticity loss of the run is the largest possible loss: from perfect
accuracy to chance. Otherwise, a network that diverges in the first task would show no
loss and would be on the Pareto front.
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
        direction: "maximize" if a larger value is better, else "minimize".
        worst: A function from the accuracy of guessing (chance) to the value of a run
            that diverged. If None, the metric is computed for such a run too.
        least_tasks: The smallest number of tasks for which the metric is defined.
    """

    direction: Literal["maximize", "minimize"]
    worst: Callable[[float], float] | None = None
    least_tasks: int = 1


OBJECTIVES: dict[str, Objective] = {
    "mean_accuracy": Objective("maximize"),
    "plasticity_loss": Objective("minimize", lambda chance: 1 - chance, least_tasks=2),
}


def objective_values(
    names: Iterable[str], setting: Setting, records: Sequence[Mapping[str, Any]]
) -> tuple[float, ...]:
    """Return the value of each objective for a setting, as a mean over its seeds.

    `records` has the records of the setting's runs, in any order. All seeds must have
    finished the same tasks.
    """
    seeds = sorted({row["seed"] for row in records})
    tasks = len(records) // len(seeds)
    chance = 1 / setting.outputs
    accuracy: Trajectories = np.full((len(seeds), tasks), chance)
    diverged = np.zeros(len(seeds), dtype=bool)
    for row in records:
        index = seeds.index(row["seed"])
        diverged[index] |= row["diverged"]
        if row["test_accuracy"] is not None:
            accuracy[index, row["task"]] = row["test_accuracy"]
    means = []
    for name in names:
        values, worst = METRICS[name](accuracy), OBJECTIVES[name].worst
        if worst is not None:
            values = np.where(diverged, worst(chance), values)
        means.append(float(values.mean()))
    return tuple(means)
