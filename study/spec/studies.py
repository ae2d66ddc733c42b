"""Studies: settings and seeds, as plain data.

The text of Koster & Kukla 2024 (arXiv 2409.17300) as we have it has lost its numbers:
the learning rates, rho, the widths, the batch size and the epochs below are ours.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.bases import Adam
from trainables.checks import whole
from trainables.interventions import INTERVENTIONS
from trainables.optimizers import ASAM, GNP, SAM, SGD, Optimizer
from trainables.problems import Pairwise, Permuted, Problem
from trainables.randomness import SEEDS
from trainables.setting import Row, Setting
from trainables.usage import UsageError

LEARNING_RATES = (0.01, 0.001)
"""Two of the step sizes of Dohare et al. 2023 (arXiv 2306.13812) on permuted MNIST."""

RHO = 0.05
"""Foret et al. 2021 (arXiv 2010.01412), section 3.1."""

ALPHA = 0.8
"""Zhao et al. 2022 (arXiv 2202.03599), section 5: the best of those tried."""

RHOS = (0.001, 0.0026, 0.0067, 0.017, 0.045, 0.12, 0.3, 0.77, 2.0)
"""From 0.001 to 2 in equal steps of the logarithm, to two digits."""

STEP_SIZES = (0.1, 0.03, 0.01, 0.003, 0.001)
"""Dohare et al.'s, with one between each two and one above."""

ALPHAS = (0.5, ALPHA)

HIDDEN = (100, 100, 100)
BATCH_SIZE = 16
EPOCHS = 1


@dataclass(frozen=True)
class Study:
    """A named set of runs: every setting with every seed.

    Attributes:
        name: Letters, digits, '-' and '_'; the results' folder has it.
        settings: Different ones.
        seeds: Different ones, each in [0, 2**32).
        about: A line for `--list`.
        probe_every: Tasks between looks at the loss's landscape, unless the sweep is
            told otherwise; None: `trainables.measuring.PROBE_EVERY`. A look takes
            about 0.3 s a seed, whatever the size of the task.
    """

    name: str
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    about: str = ""
    probe_every: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check_name(self.name)
        if self.probe_every is not None:
            whole("probe_every", self.probe_every, 0)
        object.__setattr__(self, "settings", tuple(self.settings))
        object.__setattr__(self, "seeds", check_seeds(self.name, self.seeds))
        check_items(self.name, "settings", self.settings)

    def rows(self) -> dict[str, Row]:
        """Return the settings' rows by setting_id."""
        return {setting.setting_id: setting.row() for setting in self.settings}


def check_name(name: Any) -> None:
    """Refuse a study's name that could not be a folder's.

    Raises:
        UsageError: It could not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", str(name)):
        raise UsageError(
            f"the study's name is {name!r}: use letters, digits, '-' and '_'"
        )


def check_seeds(study: str, seeds: Iterable[int]) -> tuple[int, ...]:
    """Return a study's seeds.

    Raises:
        UsageError: One is none, or there twice, or there is none.
    """
    found = tuple(whole("seed", seed, 0, SEEDS - 1) for seed in seeds)
    check_items(study, "seeds", found)
    return found


def check_items(study: str, kind: str, items: Sequence[Any]) -> None:
    """Refuse no items, or one twice.

    Raises:
        UsageError: It is so.
    """
    if not items:
        raise UsageError(f"study {study} has no {kind}: give at least one")
    if len(set(items)) < len(items):
        raise UsageError(f"study {study} has the same {kind} twice")


def grid(
    problems: Sequence[Problem],
    optimizers: Sequence[Optimizer],
    **fields: Any,
) -> tuple[Setting, ...]:
    """Return a setting for each problem and optimizer, with these other fields."""
    return tuple(
        Setting(problem=problem, optimizer=optimizer, **fields)
        for problem, optimizer in itertools.product(problems, optimizers)
    )


SIX: tuple[Optimizer, ...] = (
    *(SGD(lr=lr) for lr in LEARNING_RATES),
    *(SAM(lr=lr, rho=RHO) for lr in LEARNING_RATES),
    *(GNP(lr=lr, rho=RHO, alpha=ALPHA) for lr in LEARNING_RATES),
)
"""The paper's comparison."""


def over_rho(
    rhos: Sequence[float], rates: Sequence[float], alphas: Sequence[float]
) -> tuple[Optimizer, ...]:
    """Return SAM and GNP at every rho and step size, and SGD at every step size."""
    return (
        *(SGD(lr=lr) for lr in rates),
        *(SAM(lr=lr, rho=rho) for lr in rates for rho in rhos),
        *(
            GNP(lr=lr, rho=rho, alpha=alpha)
            for alpha in alphas
            for lr in rates
            for rho in rhos
        ),
    )


_QUICK = {"hidden": HIDDEN, "batch_size": BATCH_SIZE, "epochs": 2}
"""A task of mnist-5k is a fourteenth of one of MNIST: twice over it, not once."""

_COMMON = {"hidden": HIDDEN, "batch_size": BATCH_SIZE, "epochs": EPOCHS}

_FEWER_RHOS = over_rho(RHOS[::2], STEP_SIZES[:3], (ALPHA,))
"""5,000 digits are too few to learn from with the smaller step sizes."""


def remedies() -> tuple[Setting, ...]:
    """Return every intervention under SGD, SAM and Adam, and what they are compared to.

    Each has its paper's hyperparameters, which are its defaults; nothing is tuned.
    Adam's step size is its usual one, and its weight decay and L2-init's ten times
    less than SGD's, because Adam scales a penalty up with the gradient.
    """
    shared: dict[str, Any] = {"dataset": "mnist-5k", "tasks": 20, **_QUICK}
    made = []
    for kind, base, lr, decay in (
        (SGD, None, 0.01, 0.01),
        (SAM, None, 0.01, 0.01),
        (SGD, Adam(), 0.001, 0.001),
    ):
        mine: dict[str, Any] = {"optimizer": kind(lr=lr), "base": base, **shared}
        decayed = mine | {"optimizer": kind(lr=lr, weight_decay=decay)}
        made += [Setting(**mine), Setting(**decayed)]
        for name, intervention in INTERVENTIONS.items():
            own = {"init_decay": decay} if name == "l2_init" else {}
            made.append(Setting(**mine, intervention=intervention(**own)))
    made.append(Setting(optimizer=SAM(lr=0.001), base=Adam(), **shared))
    return (*made, Setting(optimizer=ASAM(lr=0.01), **shared))


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "quickstart",
            grid((Permuted(),), SIX, dataset="mnist-5k", tasks=20, **_QUICK)
            + grid((Pairwise(),), SIX, dataset="mnist-5k", **_QUICK),
            tuple(range(3)),
            "a small look at everything, with no download, in about two minutes",
        ),
        Study(
            "paper",
            grid((Permuted(), Pairwise()), SIX, dataset="mnist", **_COMMON),
            tuple(range(10)),
            "Tables 1 and 2 and Figures 4 and 5 of Koster & Kukla 2024",
        ),
        Study(
            "rho",
            grid(
                (Permuted(), Pairwise()),
                over_rho(RHOS, STEP_SIZES, ALPHAS),
                dataset="mnist",
                **_COMMON,
            ),
            tuple(range(10)),
            "SAM and GNP over rho and step size, with SGD as the baseline",
        ),
        Study(
            "rho-small",
            grid((Permuted(),), _FEWER_RHOS, dataset="mnist-5k", tasks=20, **_QUICK)
            + grid((Pairwise(),), _FEWER_RHOS, dataset="mnist-5k", **_QUICK),
            tuple(range(5)),
            "its cut for two cores: every second rho, on the 5,000 digits",
            probe_every=45,
        ),
        Study(
            "remedies",
            remedies(),
            tuple(range(5)),
            "every intervention under SGD, SAM and Adam, in some minutes",
            probe_every=20,
        ),
    )
}


def changed(study: Study, seeds: int | None = None, **fields: Any) -> Study:
    """Return the study with other seeds (0 to seeds - 1) or fields of its settings.

    Args:
        study: What to change.
        seeds: How many; None: as they are.
        fields: Fields of `Setting`; those that are None stay as they are.

    Raises:
        UsageError: A value is wrong.
    """
    if seeds is not None:
        study = dataclasses.replace(study, seeds=tuple(range(whole("seeds", seeds))))
    given = {name: value for name, value in fields.items() if value is not None}
    settings = [dataclasses.replace(setting, **given) for setting in study.settings]
    return dataclasses.replace(study, settings=tuple(settings))
