"""Studies: settings and seeds, as plain data.

The text of Koster & Kukla 2024 (arXiv 2409.17300) that we have does not show its
numbers: the learning rates, rho, widths, batch size and epochs below are ours.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from trainables.bases import Adam
from trainables.hyperparameter import check_whole
from trainables.interventions import INTERVENTIONS
from trainables.optimizers import ASAM, GNP, SAM, SGD, Optimizer
from trainables.problems import Pairwise, Permuted, Problem
from trainables.randomness import SEEDS
from trainables.setting import Row, RunOptions, Setting
from trainables.usage import UsageError

# two of those of Dohare et al. 2023 (arXiv 2306.13812) on permuted MNIST
LEARNING_RATES = (0.01, 0.001)
# those of Dohare et al., with one between each two and one above
MAP_LEARNING_RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
# Foret et al. 2021 (arXiv 2010.01412), section 3.1
RHO = 0.05
# from 0.001 to 2, equally spaced on a logarithmic scale, to two digits
RHOS = (0.001, 0.0026, 0.0067, 0.017, 0.045, 0.12, 0.3, 0.77, 2.0)
# Zhao et al. 2022 (arXiv 2202.03599), section 5: the best of those tried
ALPHA = 0.8

LANDSCAPE_EVERY = RunOptions().landscape_every


def check_name(study: Any, attribute: Any, name: Any) -> None:
    """Check that a study's name can be used as a folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", str(name)):
        raise UsageError(
            f"the study's name is {name!r}: use letters, digits, '-' and '_'"
        )


def check_distinct(study: Any, attribute: Any, items: Sequence[Any]) -> None:
    """Check that a study has at least one item, and no duplicates."""
    kind = attribute.name
    if not items:
        raise UsageError(f"study {study.name} has no {kind}: give at least one")
    if len(set(items)) < len(items):
        raise UsageError(f"study {study.name} repeats one of its {kind}")


def to_tuple(items: Iterable[Any]) -> tuple[Any, ...]:
    """Convert to a tuple; mypy does not take the class for a converter."""
    return tuple(items)


def check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return seeds, each a whole number in [0, 2**32)."""
    return tuple(check_whole("seed", seed, 0, SEEDS - 1) for seed in seeds)


def check_landscape_every(tasks: int) -> int:
    """Return the tasks between measurements of the loss landscape, at least 0."""
    return check_whole("landscape_every", tasks, 0)


@attrs.frozen
class Study:
    """A named set of runs: every setting with every seed.

    Attributes:
        name: Letters, digits, '-' and '_'; also the name of the folder of results.
        settings: Distinct settings.
        seeds: Distinct, each in [0, 2**32).
        about: A line for `--list`.
        landscape_every: Tasks between measurements of the loss landscape, without
            `--landscape-every`; 0: none. One takes about 0.3 s a seed, for any task.
    """

    name: str = attrs.field(validator=check_name)
    settings: tuple[Setting, ...] = attrs.field(
        converter=to_tuple, validator=check_distinct
    )
    seeds: tuple[int, ...] = attrs.field(
        converter=check_seeds, validator=check_distinct
    )
    about: str = ""
    landscape_every: int = attrs.field(
        default=LANDSCAPE_EVERY, converter=check_landscape_every
    )

    def rows(self) -> dict[str, Row]:
        """Return the settings' rows by setting_id."""
        return {setting.setting_id: setting.row() for setting in self.settings}

    def modify(self, seeds: int | None = None, **fields: Any) -> Study:
        """Return the study with so many seeds, and other fields in all its settings.

        None: unchanged.

        Raises:
            UsageError: A value is wrong, or two settings become equal.
        """
        values = {name: value for name, value in fields.items() if value is not None}
        settings = [attrs.evolve(setting, **values) for setting in self.settings]
        seed_range = count_seeds(seeds, self.seeds)
        return attrs.evolve(self, settings=settings, seeds=seed_range)


def count_seeds(count: int | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the first seeds, from 0; the default if the count is None."""
    return default if count is None else tuple(range(check_whole("seeds", count)))


def grid(
    problems: Sequence[Problem], optimizers: Sequence[Optimizer], **fields: Any
) -> tuple[Setting, ...]:
    """Return a setting for each problem and optimizer, with these other fields."""
    return tuple(
        Setting(problem=problem, optimizer=optimizer, **fields)
        for problem, optimizer in itertools.product(problems, optimizers)
    )


def over_rho(
    rhos: Sequence[float], learning_rates: Sequence[float], alphas: Sequence[float]
) -> tuple[Optimizer, ...]:
    """Return SGD at each learning rate, and SAM and GNP at each rho there too."""
    pairs = list(itertools.product(learning_rates, rhos))
    return (
        *(SGD(lr=lr) for lr in learning_rates),
        *(SAM(lr=lr, rho=rho) for lr, rho in pairs),
        *(GNP(lr=lr, rho=rho, alpha=alpha) for alpha in alphas for lr, rho in pairs),
    )


NETWORK: dict[str, Any] = {"hidden": (100, 100, 100), "batch_size": 16}
MNIST: dict[str, Any] = {"dataset": "mnist", "epochs": 1, **NETWORK}
# two epochs: a task has a fourteenth of the examples of one of MNIST
DIGITS: dict[str, Any] = {"dataset": "mnist-5k", "epochs": 2, **NETWORK}

PAPER_OPTIMIZERS = over_rho([RHO], LEARNING_RATES, [ALPHA])
# with the smaller learning rates, 5,000 digits are too few to learn from
SMALL_MAP_OPTIMIZERS = over_rho(RHOS[::2], MAP_LEARNING_RATES[:3], [ALPHA])


def quickstart() -> tuple[Setting, ...]:
    """Return two settings that lose plasticity and two that keep it.

    Batches of one example make enough steps on the 5,000 digits to see it. All four
    have the same learning rate. They were chosen from the following, measured on 40
    tasks with ten seeds (*: five): the mean accuracy of the last tenth of the stream
    less that of tasks 1 to 4, in points, and its 95% interval.

    | optimizer                          | change       |
    | ---------------------------------- | -----------: |
    | SGD, lr 0.01                       |  -3.3 +- 1.4 |
    | SGD, lr 0.003                      |  -0.6 +- 0.7 |
    | SGD, lr 0.003, weight decay 0.001  |  +0.4 +- 0.6 |
    | SAM, lr 0.01, rho 0.05             | -16.2 +- 4.6 |
    | SAM, lr 0.003, rho 0.05 *          | -10.1 +- 1.3 |
    | GNP, lr 0.01, rho 0.05, alpha 0.8  | -10.1 +- 2.1 |

    Pairwise streams of these digits show no loss.
    """
    lr = 0.003
    optimizers = (
        SGD(lr=lr),
        SGD(lr=lr, weight_decay=0.001),
        SAM(lr=lr, rho=RHO),
        GNP(lr=lr, rho=RHO, alpha=ALPHA),
    )
    fields = {**DIGITS, "batch_size": 1, "epochs": 1, "tasks": 40}
    return grid([Permuted()], optimizers, **fields)


def remedies() -> tuple[Setting, ...]:
    """Return every intervention under SGD, SAM and Adam, and what to compare them with.

    Each has the hyperparameters of its paper, its defaults; nothing is tuned. Adam has
    its usual learning rate. Its weight decay and L2-init are ten times less than SGD's,
    because Adam scales a penalty up with the gradient.
    """
    shared: dict[str, Any] = {"tasks": 20, **DIGITS}
    settings = []
    for kind, base, lr, decay in (
        (SGD, None, 0.01, 0.01),
        (SAM, None, 0.01, 0.01),
        (SGD, Adam(), 0.001, 0.001),
    ):
        fields: dict[str, Any] = {"optimizer": kind(lr=lr), "base": base, **shared}
        decayed = {**fields, "optimizer": kind(lr=lr, weight_decay=decay)}
        settings += [Setting(**fields), Setting(**decayed)]
        for name, intervention in INTERVENTIONS.items():
            own = {"init_decay": decay} if name == "l2_init" else {}
            settings.append(Setting(**fields, intervention=intervention(**own)))
    settings.append(Setting(optimizer=SAM(lr=0.001), base=Adam(), **shared))
    settings.append(Setting(optimizer=ASAM(lr=0.01), **shared))
    return tuple(settings)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "quickstart",
            quickstart(),
            seeds=range(5),
            about="what loses plasticity and what keeps it, in about two minutes",
        ),
        Study(
            "paper",
            grid([Permuted(), Pairwise()], PAPER_OPTIMIZERS, **MNIST),
            seeds=range(10),
            about="Tables 1 and 2 and Figures 4 and 5 of Koster & Kukla 2024",
        ),
        Study(
            "rho",
            grid(
                [Permuted(), Pairwise()],
                over_rho(RHOS, MAP_LEARNING_RATES, [0.5, ALPHA]),
                **MNIST,
            ),
            seeds=range(10),
            about="SAM and GNP over rho and learning rate, with SGD as the baseline",
        ),
        Study(
            "rho-small",
            grid([Permuted()], SMALL_MAP_OPTIMIZERS, tasks=20, **DIGITS)
            + grid([Pairwise()], SMALL_MAP_OPTIMIZERS, **DIGITS),
            seeds=range(5),
            about="part of rho for two cores: every second rho, on the 5,000 digits",
            landscape_every=45,
        ),
        Study(
            "remedies",
            remedies(),
            seeds=range(5),
            about="every intervention under SGD, SAM and Adam, in some minutes",
            landscape_every=20,
        ),
    )
}
