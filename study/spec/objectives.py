"""Objectives: the number that a search maximises or minimises for each setting.

An objective is the mean over seeds of a metric of the analysis
(`analysis.statistics.metrics`), taken on test accuracy: what tables and figures show.

A seed that diverges is a bad outcome, not a missing one. Its accuracy counts as chance
from the task in which it diverged, since a network of NaNs can do no better. Its
plasticity loss is the largest possible, from perfect to chance: otherwise a network
that diverges in the first task would seem to lose nothing and end a Pareto front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np

from analysis.statistics.metrics import METRICS, Trajectories
from trainables.setting import Setting
from trainables.usage import choose


@attrs.frozen
class Objective:
    """How a search uses a metric.

    Attributes:
        direction: Whether larger or smaller is better, as Optuna names it.
        worst: Returns, from chance accuracy, the value of a run that diverged. None:
            the metric itself, with chance accuracy for the missing tasks.
        least_tasks: The shortest stream on which it is defined.
    """

    direction: Literal["maximize", "minimize"]
    worst: Callable[[float], float] | None = None
    least_tasks: int = 1


OBJECTIVES: dict[str, Objective] = {
    "mean_accuracy": Objective("maximize"),
    "plasticity_loss": Objective("minimize", lambda chance: 1 - chance, least_tasks=2),
}


def parse_objectives(text: str) -> tuple[str, ...]:
    """Return the names in a list like mean_accuracy,plasticity_loss.

    Raises:
        UsageError: A name is unknown.
    """
    return tuple(choose("objective", name, OBJECTIVES) for name in text.split(","))


def objective_values(
    names: Iterable[str], setting: Setting, records: Sequence[Mapping[str, Any]]
) -> tuple[float, ...]:
    """Return the objectives of a setting on the tasks so far.

    `records` has one for each seed and each task so far, in any order.
    """
    seeds = sorted({row["seed"] for row in records})
    tasks = len(records) // len(seeds)
    chance = 1 / setting.problem.outputs
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
