"""Objectives: what a search seeks, as one number for a setting and its seeds.

It is the mean over the seeds of a metric of `metrics`, taken on test accuracy:
what the tables and figures show, and no definition of its own.

A seed that diverged is an outcome, and a bad one, not a hole. In the mean accuracy it
counts as chance from the task on which it diverged (a network of no numbers can do no
better). Plasticity it has lost entirely, whenever it diverged: from perfect to chance,
the most that can be lost. Otherwise a network that diverges on the first task would
seem to lose nothing, and be the end of a Pareto front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analysis.statistics.metrics import METRICS, Trajectories
from trainables.setting import Setting
from trainables.usage import choose


@dataclass(frozen=True)
class Objective:
    """A metric to be made large or small.

    Attributes:
        maximize: Whether large is good.
        diverged: Its value for a run that diverged, from chance accuracy; None: the
            metric, with chance on the tasks that are missing.
        least_tasks: The shortest stream on which it is defined.
    """

    maximize: bool
    diverged: Callable[[float], float] | None = None
    least_tasks: int = 1

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.maximize else "minimize"


OBJECTIVES: dict[str, Objective] = {
    "mean_accuracy": Objective(maximize=True),
    "plasticity_loss": Objective(
        maximize=False, diverged=lambda chance: 1 - chance, least_tasks=2
    ),
}


def parse_objectives(text: str) -> tuple[str, ...]:
    """Return the objectives in a list like mean_accuracy,plasticity_loss.

    Raises:
        UsageError: One is unknown.
    """
    return tuple(choose("objective", name, OBJECTIVES) for name in text.split(","))


def objective_values(
    names: Iterable[str], setting: Setting, records: Sequence[Mapping[str, Any]]
) -> tuple[float, ...]:
    """Return each objective of the records of a setting's seeds, on the tasks so far.

    Args:
        names: Of `OBJECTIVES`.
        setting: Whose records they are.
        records: With every seed's row on each of the tasks that are done.
    """
    seeds = sorted({row["seed"] for row in records})
    tasks = len(records) // len(seeds)
    chance = 1 / setting.problem.outputs
    matrix: Trajectories = np.full((len(seeds), tasks), chance)
    lost = np.zeros(len(seeds), dtype=bool)
    for row in records:
        which = seeds.index(row["seed"])
        lost[which] |= row["diverged"]
        if row["test_accuracy"] is not None:
            matrix[which, row["task"]] = row["test_accuracy"]
    found = []
    for name in names:
        values, worst = METRICS[name](matrix), OBJECTIVES[name].diverged
        if worst is not None:
            values = np.where(lost, worst(chance), values)
        found.append(float(values.mean()))
    return tuple(found)
