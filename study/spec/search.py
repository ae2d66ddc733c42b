"""Searches: studies whose settings Optuna suggests, one after the other."""

from __future__ import annotations

from typing import Any

import attrs

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
from trainables.usage import UsageError, choose

JOURNAL = "optuna.journal"
"""Optuna's memory of a search: a file beside the records."""


@attrs.frozen
class Search:
    """A named search: each trial is one setting with all the seeds.

    Attributes:
        name, seeds, about, landscape_every: See `Study`.
        space: The settings to choose from.
        trials: How many settings.
        objectives: One or two of `study.spec.objectives.OBJECTIVES`.
        asha: Whether to stop bad trials before the end of their stream.
        random_seed: Of Optuna's sampler, at least 0.
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
        """Check the values: raise a UsageError."""
        check_whole("trials", self.trials)
        check_whole("random_seed", self.random_seed, 0)
        if len(self.objectives) > 2:
            raise UsageError(f"{len(self.objectives)} objectives: give at most 2")
        least_tasks = min(self.space.extremes("tasks"))
        for name in self.objectives:
            needed = OBJECTIVES[choose("objective", name, OBJECTIVES)].least_tasks
            if least_tasks < needed:
                raise UsageError(
                    f"{name} of {least_tasks} tasks: it needs at least {needed}"
                )
        if self.asha and self.objectives != ("mean_accuracy",):
            raise UsageError(
                "--asha stops trials before the end of their stream, so it works only "
                f"with mean_accuracy, not with {', '.join(self.objectives)}: leave one "
                "out"
            )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of all settings."""
        return self.space.extremes("dataset")

    def request(self) -> dict[str, Any]:
        """Return what all trials have in common, as plain values that identify it."""
        return {
            "space": self.space.describe(),
            "seeds": list(self.seeds),
            "objectives": list(self.objectives),
            "random_seed": self.random_seed,
        }

    def modify(self, seeds: int | None = None, **changes: Any) -> Search:
        """Return the search with so many seeds, and other values; None: unchanged.

        `changes` are `trials`, `objectives`, `asha`, and values that fix fields of the
        settings' rows.
        """
        values = {name: value for name, value in changes.items() if value is not None}
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
            about="the best optimizer, lr, rho, alpha, momentum, decay, by Optuna",
        ),
    )
}
