"""Searches: studies whose settings Optuna chooses, one after the other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from study.spec.domain import Domain, choice, log, uniform
from study.spec.objectives import OBJECTIVES
from study.spec.space import Space
from study.spec.studies import BATCH_SIZE, HIDDEN, check_items, check_name, check_seeds
from trainables.checks import whole
from trainables.setting import Setting
from trainables.usage import UsageError, choose

MOST_OBJECTIVES = 2

JOURNAL = "optuna.journal"
"""The file, beside the records, of what Optuna knows."""


@dataclass(frozen=True)
class Search:
    """A named search: each trial is one setting with all the seeds.

    Attributes:
        name: Letters, digits, '-' and '_'; the results' folder has it.
        space: Where the settings are chosen from.
        seeds: Different ones, each in [0, 2**32).
        trials: How many settings.
        objectives: One or two of `study.spec.objectives.OBJECTIVES`.
        asha: Whether to stop trials that do badly before the end of their stream.
        about: A line for `--list`.
        random_seed: Of Optuna's sampler.
    """

    name: str
    space: Space
    seeds: tuple[int, ...]
    trials: int = 50
    objectives: tuple[str, ...] = ("mean_accuracy",)
    asha: bool = False
    about: str = ""
    random_seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        check_name(self.name)
        object.__setattr__(self, "seeds", check_seeds(self.name, self.seeds))
        object.__setattr__(self, "objectives", tuple(self.objectives))
        whole("trials", self.trials)
        whole("random_seed", self.random_seed, 0)
        check_items(self.name, "objectives", self.objectives)
        if len(self.objectives) > MOST_OBJECTIVES:
            raise UsageError(
                f"{len(self.objectives)} objectives: give at most {MOST_OBJECTIVES}"
            )
        for objective in self.objectives:
            least = OBJECTIVES[choose("objective", objective, OBJECTIVES)].least_tasks
            if self.shortest < least:
                raise UsageError(
                    f"{objective} of {self.shortest} tasks: it needs at least {least}"
                )
        if self.asha and self.objectives != ("mean_accuracy",):
            raise UsageError(
                "--asha stops trials before the end of their stream, so it goes with "
                f"mean_accuracy alone, not with {', '.join(self.objectives)}: leave "
                "one out"
            )

    @property
    def example(self) -> Setting:
        """One of the settings."""
        return self.space.settle(lambda _, domain: domain.ends[0])

    @property
    def shortest(self) -> int:
        """The least number of tasks that a stream may have."""
        tasks = self.space.fields.get("tasks")
        return min(tasks.ends) if isinstance(tasks, Domain) else self.example.tasks

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that the settings may have."""
        dataset = self.space.fields.get("dataset", self.example.dataset)
        return dataset.ends if isinstance(dataset, Domain) else (dataset,)

    def asked(self) -> dict[str, Any]:
        """Return what every trial of the search has in common, as plain values."""
        return {
            "space": self.space.described(),
            "seeds": list(self.seeds),
            "objectives": list(self.objectives),
            "random_seed": self.random_seed,
        }

    def changed(
        self,
        seeds: int | None = None,
        trials: int | None = None,
        objectives: tuple[str, ...] | None = None,
        asha: bool = False,
        **fields: Any,
    ) -> Search:
        """Return the search with other values; those that are None stay as they are.

        Args:
            seeds: How many, counted from 0.
            trials: How many.
            objectives: Which.
            asha: Whether to stop trials early, if it does not already.
            fields: Of a setting's row, to be fixed.

        Raises:
            UsageError: A value is wrong.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        return dataclasses.replace(
            self,
            space=self.space.replaced(**given),
            seeds=self.seeds if seeds is None else tuple(range(whole("seeds", seeds))),
            trials=self.trials if trials is None else trials,
            objectives=self.objectives if objectives is None else objectives,
            asha=self.asha or asha,
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
                epochs=2,
                batch_size=BATCH_SIZE,
                hidden="-".join(map(str, HIDDEN)),
                optimizer=choice("sgd", "sam", "gnp"),
                lr=log(1e-3, 0.3),
                rho=log(1e-3, 2).when(optimizer=("sam", "gnp")),
                alpha=uniform(0, 1).when(optimizer="gnp"),
                momentum=choice(0.0, 0.9),
                weight_decay=log(1e-6, 1e-2),
            ),
            tuple(range(5)),
            about="the best optimizer, lr, rho, alpha, momentum, decay, by Optuna",
        ),
    )
}
