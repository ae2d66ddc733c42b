"""Searches: studies whose settings Optuna suggests, one after the other."""

from __future__ import annotations

from typing import Any

import attrs

from study.spec.domain import Domain, choice, log, uniform
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
from trainables.setting import Setting
from trainables.usage import UsageError, choose

MOST_OBJECTIVES = 2

JOURNAL = "optuna.journal"
"""Optuna's memory of a search: a file beside the records."""


@attrs.frozen
class Search:
    """A named search: each trial is one setting with all the seeds.

    Attributes:
        name: Letters, digits, '-' and '_'; also the name of the folder of results.
        space: The settings to choose from.
        seeds: Distinct, each in [0, 2**32).
        trials: How many settings.
        objectives: One or two of `study.spec.objectives.OBJECTIVES`.
        asha: Whether to stop bad trials before the end of their stream.
        about: A line for `--list`.
        random_seed: Of Optuna's sampler, at least 0.
        landscape_every: See `Study`.
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
        if len(self.objectives) > MOST_OBJECTIVES:
            raise UsageError(
                f"{len(self.objectives)} objectives: give at most {MOST_OBJECTIVES}"
            )
        for name in self.objectives:
            least = OBJECTIVES[choose("objective", name, OBJECTIVES)].least_tasks
            if self.least_tasks < least:
                raise UsageError(
                    f"{name} of {self.least_tasks} tasks: it needs at least {least}"
                )
        if self.asha and self.objectives != ("mean_accuracy",):
            raise UsageError(
                "--asha stops trials before the end of their stream, so it works only "
                f"with mean_accuracy, not with {', '.join(self.objectives)}: leave one "
                "out"
            )

    @property
    def example(self) -> Setting:
        """One of the settings."""
        return self.space.make_setting(lambda _, domain: domain.extremes[0])

    @property
    def least_tasks(self) -> int:
        """Length of the shortest stream."""
        tasks = self.space.fields.get("tasks")
        return min(tasks.extremes) if isinstance(tasks, Domain) else self.example.tasks

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of all settings."""
        dataset = self.space.fields.get("dataset", self.example.dataset)
        return dataset.extremes if isinstance(dataset, Domain) else (dataset,)

    def request(self) -> dict[str, Any]:
        """Return what all trials have in common, as plain values that identify it."""
        return {
            "space": self.space.describe(),
            "seeds": list(self.seeds),
            "objectives": list(self.objectives),
            "random_seed": self.random_seed,
        }

    def modify(self, seeds: int | None = None, **changes: Any) -> Search:
        """Return the search with other values; None: unchanged.

        Args:
            seeds: How many, from 0.
            changes: `trials`, `objectives`, `asha`, or a value to fix for a field of
                the settings' rows.

        Raises:
            UsageError: A value is wrong.
        """
        values = {name: value for name, value in changes.items() if value is not None}
        own = ("trials", "objectives", "asha")
        changed = {name: values.pop(name) for name in own if name in values}
        return attrs.evolve(
            self,
            space=self.space.fix(**values),
            seeds=count_seeds(seeds, self.seeds),
            **changed,
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
