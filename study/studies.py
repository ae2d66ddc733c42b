"""Studies: settings and seeds, as plain data.

The text of Koster & Kukla 2024 (arXiv 2409.17300) as we have it has lost its numbers:
the learning rates, rho, the widths, the batch size and the epochs below are ours.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import runpy
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.bases import BASES, Adam
from trainables.checks import whole
from trainables.command_line import UsageError, choose
from trainables.interventions import INTERVENTIONS
from trainables.optimizers import ASAM, GNP, OPTIMIZERS, SAM, SGD, Optimizer
from trainables.problems import PROBLEMS, Pairwise, Permuted, Problem
from trainables.randomness import SEEDS
from trainables.setting import Setting

LEARNING_RATES = (0.01, 0.001)
"""Two of the step sizes of Dohare et al. 2023 (arXiv 2306.13812) on permuted MNIST."""

RHO = 0.05
"""Foret et al. 2021 (arXiv 2010.01412), section 3.1."""

ALPHA = 0.8
"""Zhao et al. 2022 (arXiv 2202.03599), section 5: the best of those tried."""

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
    """

    name: str
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    about: str = ""

    def __post_init__(self) -> None:
        """Check the values."""
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", str(self.name)):
            raise UsageError(
                f"the study's name is {self.name!r}: use letters, digits, '-' and '_'"
            )
        object.__setattr__(self, "settings", tuple(self.settings))
        object.__setattr__(self, "seeds", tuple(self.seeds))
        for seed in self.seeds:
            whole("seed", seed, 0, SEEDS - 1)
        for kind, items in (("settings", self.settings), ("seeds", self.seeds)):
            if not items:
                raise UsageError(f"study {self.name} has no {kind}: give at least one")
            if len(set(items)) < len(items):
                raise UsageError(f"study {self.name} has the same {kind} twice")


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

_QUICK = {"hidden": HIDDEN, "batch_size": BATCH_SIZE, "epochs": 2}
"""A task of mnist-5k is a fourteenth of one of MNIST: twice over it, not once."""

_COMMON = {"hidden": HIDDEN, "batch_size": BATCH_SIZE, "epochs": EPOCHS}


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
            "a small look at everything, with no download, in about a minute",
        ),
        Study(
            "paper",
            grid((Permuted(), Pairwise()), SIX, dataset="mnist", **_COMMON),
            tuple(range(10)),
            "Tables 1 and 2 and Figures 4 and 5 of Koster & Kukla 2024",
        ),
        Study(
            "remedies",
            remedies(),
            tuple(range(5)),
            "every intervention under SGD, SAM and Adam, in some minutes",
        ),
    )
}


def find_study(name: str) -> Study:
    """Return a study by its name, or the STUDY that a Python file defines.

    Raises:
        UsageError: There is none, or the file fails.
    """
    if not name.endswith(".py"):
        return STUDIES[choose("study", name, STUDIES)]
    if not Path(name).is_file():
        raise UsageError(f"{name}: no such file")
    try:
        study = runpy.run_path(name).get("STUDY")
    except (Exception, SystemExit) as error:
        raise UsageError(f"{_where(name, error)}: {_why(error)}") from error
    if not isinstance(study, Study):
        raise UsageError(f"{name} must define STUDY = Study(name, settings, seeds)")
    return study


def _where(name: str, error: BaseException) -> str:
    """Return the file and the line of it that failed."""
    if isinstance(error, SyntaxError):
        return f"{name}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == name
    ]
    return f"{name}:{lines[-1]}" if lines else name


def _why(error: BaseException) -> str:
    """Return what went wrong, in one line; a wrong keyword offers the nearest one."""
    if isinstance(error, UsageError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    wrong = re.match(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", text)
    registries = (OPTIMIZERS, PROBLEMS, BASES, INTERVENTIONS)
    parts: tuple[type[Any], ...] = (
        Study,
        Setting,
        *(part for kind in registries for part in kind.values()),
    )
    for part in parts:
        if wrong and wrong[1] == part.__name__:
            try:
                choose("keyword", wrong[2], [f.name for f in dataclasses.fields(part)])
            except UsageError as mistake:
                return f"{part.__name__}: {mistake}"
    return ": ".join([type(error).__name__, *text.splitlines()[:1]])


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
