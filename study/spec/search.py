"""Searches: studies in which Optuna chooses the settings, one after the other."""

from __future__ import annotations

from typing import Any

import attrs

from analysis.statistics.metrics import MEASURE
from study.spec.domain import choice, log, uniform
from study.spec.objectives import OBJECTIVES
from study.spec.space import Space
from study.spec.studies import (
    DIGITS,
    LANDSCAPE_EVERY,
    check_distinct,
    check_landscape_every,
    check_name,
    check_seeds,
    count_seeds,
    to_tuple,
)
from trainables.hyperparameter import check_whole
from trainables.problems import PROBLEMS
from trainables.setting import without_nulls
from trainables.usage import UsageError, choose

JOURNAL = "optuna.journal"
"""The name of the file, next to the records, in which Optuna saves a search."""


@attrs.frozen
class Search:
    """A named search for good settings. Each trial runs one setting with all seeds.

    Attributes:
        name, seeds, about, landscape_every: See `Study`.
        space: The settings that Optuna can choose from.
        trials: The number of settings to try.
        objectives: One or two names from `study.spec.objectives.OBJECTIVES`.
        asha: Whether to stop bad trials before their last task.
        random_seed: The seed of Optuna's random choices, at least 0.
    """

    name: str = attrs.field(validator=check_name)
    space: Space
    seeds: tuple[int, ...] = attrs.field(
        converter=check_seeds, validator=check_distinct
    )
    trials: int = 50
    objectives: tuple[str, ...] = attrs.field(
        default=("mean_accuracy",), converter=to_tuple, validator=check_distinct
    )
    asha: bool = False
    about: str = ""
    random_seed: int = 0
    landscape_every: int = attrs.field(
        default=LANDSCAPE_EVERY, converter=check_landscape_every
    )

    def __attrs_post_init__(self) -> None:
        """Raise a UsageError if a value is not valid."""
        check_whole("trials", self.trials)
        check_whole("random_seed", self.random_seed, 0)
        if len(self.objectives) > 2:
            raise UsageError(
                f"{len(self.objectives)} objectives are too many: give at most 2"
            )
        measure, least_tasks = self.measure, min(self.space.extremes("tasks"))
        for name in self.objectives:
            objective = OBJECTIVES[choose("objective", name, OBJECTIVES)]
            if least_tasks < objective.least_tasks:
                raise UsageError(
                    f"the number of tasks is {least_tasks}, but the objective {name} "
                    f"needs at least {objective.least_tasks}"
                )
            if objective.worst is not None and measure != MEASURE:
                raise UsageError(
                    f"the objective {name} needs an accuracy, because the worst "
                    f"{name} of another measure is unknown, but the measure of the "
                    f"problem is {measure}: use the objective mean_accuracy, "
                    f"which is then the mean of {measure}"
                )
        if self.asha and self.objectives != ("mean_accuracy",):
            raise UsageError(
                "--asha stops trials before the end of their stream, so it works only "
                "with the objective mean_accuracy: leave out --asha, or use "
                "--objective mean_accuracy"
            )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the datasets that the settings can use."""
        return self.space.extremes("dataset")

    @property
    def measure(self) -> str:
        """The measure of the problems, from which the objectives are computed.

        Raises:
            UsageError: The problems have different measures.
        """
        names = {
            problem if isinstance(problem, str) else problem.name
            for problem in self.space.extremes("problem")
        }
        measures = {name: PROBLEMS[name].measure for name in sorted(names)}
        if len({*measures.values()}) > 1:
            known = ", ".join(f"{name}: {own}" for name, own in measures.items())
            raise UsageError(
                f"the problems of a search must have the same measure, but these have "
                f"different ones ({known}): start one search for each measure"
            )
        return measures.popitem()[1]

    def request(self) -> dict[str, Any]:
        """Return the values that identify the search in its saved results."""
        return {
            "space": self.space.describe(),
            "seeds": list(self.seeds),
            "objectives": list(self.objectives),
            "random_seed": self.random_seed,
        }

    def modify(self, seeds: int | None = None, **changes: Any) -> Search:
        """Return a copy with the seeds 0 to `seeds` - 1 and other new values.

        `changes` has new values of `trials`, `objectives` or `asha`, or new values of
        all settings, by field, e.g. `tasks`. An argument that is None changes nothing.
        """
        values = without_nulls(changes)
        own = {
            n: values.pop(n) for n in ("trials", "objectives", "asha") if n in values
        }
        seed_range = count_seeds(seeds, self.seeds)
        return attrs.evolve(
            self, space=self.space.fix(**values), seeds=seed_range, **own
        )


SEARCHES: dict[str, Search] = {
    search.name: search
    for search in (
        Search(
            "search",
            Space(
                problem="permuted",
                dataset="mnist-5k",
                tasks=20,
                epochs=DIGITS["epochs"],
                batch_size=DIGITS["batch_size"],
                hidden="-".join(map(str, DIGITS["hidden"])),
                optimizer=choice("sgd", "sam", "gnp"),
                lr=log(1e-3, 0.3),
                rho=log(1e-3, 2).when(optimizer=("sam", "gnp")),
                alpha=uniform(0, 1).when(optimizer="gnp"),
                momentum=choice(0.0, 0.9),
                weight_decay=log(1e-6, 1e-2),
            ),
            seeds=range(5),
            about="Optuna looks for the best optimizer and its hyperparameters",
        ),
    )
}
