"""Studies: named sets of settings and seeds.

Our copy of Koster & Kukla 2024 (arXiv 2409.17300) does not show the values of the
hyperparameters. We chose the learning rates, rho, widths, batch size and epochs below.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from study.spec.replications import (
    TANG,
    control_calibration,
    control_laptop,
    dohare_2024,
    kumar_2023,
    random_labels,
)
from trainables.bases import Adam
from trainables.data.datasets import DATASETS
from trainables.hyperparameter import check_whole
from trainables.interventions import INTERVENTIONS, Fresh, L2Init, LayerNorm
from trainables.learners import DQN
from trainables.networks import Conv
from trainables.optimizers import (
    ASAM,
    FSAM,
    GNP,
    GSAM,
    OPTIMIZERS,
    SAM,
    SGD,
    Optimizer,
    VaSSO,
)
from trainables.problems import (
    TD,
    Accumulating,
    CartPole,
    ClassPairs,
    Grid,
    LabelPermuted,
    Pairwise,
    Permuted,
    Problem,
)
from trainables.randomness import SEEDS
from trainables.setting import Row, RunOptions, Setting, without_nulls
from trainables.usage import UsageError

# two learning rates of Dohare et al. 2023 (arXiv 2306.13812) on permuted MNIST
LEARNING_RATES = (0.01, 0.001)
# the learning rates of Dohare et al., and more values between and above them
MAP_LEARNING_RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
# the value in section 3.1 of Foret et al. 2021 (arXiv 2010.01412)
RHO = 0.05
# about equally spaced on a log scale, from harmless to harmful
LAPTOP_RHOS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
# the radii in problems of control
CONTROL_RHOS = (0.005, 0.02, 0.05, 0.2)
# from 0.001 to 2, equally spaced on a log scale and rounded to two digits
RHOS = (0.001, 0.0026, 0.0067, 0.017, 0.045, 0.12, 0.3, 0.77, 2.0)
# the best value in section 5 of Zhao et al. 2022 (arXiv 2202.03599)
ALPHA = 0.8

LANDSCAPE_EVERY = RunOptions().landscape_every


def check_name(study: Any, attribute: Any, name: Any) -> None:
    """Raise a UsageError if the name of a study cannot be the name of a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", str(name)):
        raise UsageError(
            f"the study's name is {name!r}: use letters, digits, '-' and '_', and "
            "begin with a letter or a digit"
        )


def check_distinct(study: Any, attribute: Any, items: Sequence[Any]) -> None:
    """Raise a UsageError if `items` is empty or if two items are equal."""
    kind = attribute.name
    if not items:
        raise UsageError(f"study {study.name} has no {kind}: give at least one")
    if len(set(items)) < len(items):
        raise UsageError(
            f"study {study.name} repeats one of its {kind}: give each of them only once"
        )


def to_tuple(items: Iterable[Any]) -> tuple[Any, ...]:
    """Return a tuple. mypy does not accept the class `tuple` as a converter."""
    return tuple(items)


def check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return the seeds; raise a UsageError unless all are integers in [0, 2**32)."""
    return tuple(check_whole("seed", seed, 0, SEEDS - 1) for seed in seeds)


def check_landscape_every(tasks: int) -> int:
    """Return `tasks`, or raise a UsageError unless it is an integer of at least 0."""
    return check_whole("landscape_every", tasks, 0)


@attrs.frozen
class Study:
    """A named set of runs: every setting with every seed.

    Attributes:
        name: The name of the study and of its results folder. It has only letters,
            digits, '-' and '_'.
        settings: The settings. All are different.
        seeds: The seeds. All are different integers in [0, 2**32).
        about: One line that describes the study, for the option `--list`.
        landscape_every: The number of tasks between two measurements of the loss
            landscape (sharpness etc.), or 0 for no measurement. One measurement takes
            about 0.3 seconds per seed.
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
        """Return a dict from the setting_id of each setting to its row of fields."""
        return {setting.setting_id: setting.row() for setting in self.settings}

    def modify(self, seeds: int | None = None, **fields: Any) -> Study:
        """Return a copy with the seeds 0 to `seeds` - 1 and new values of all settings.

        `fields` has the new values by field, e.g. `tasks`. An argument that is None
        changes nothing.

        Raises:
            UsageError: A value is wrong, or two settings are equal after the change.
        """
        values = without_nulls(fields)
        settings = [attrs.evolve(setting, **values) for setting in self.settings]
        seed_range = count_seeds(seeds, self.seeds)
        return attrs.evolve(self, settings=settings, seeds=seed_range)


def count_seeds(count: int | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds 0 to `count` - 1, or `default` if `count` is None."""
    return default if count is None else tuple(range(check_whole("seeds", count)))


def grid(
    problems: Sequence[Problem], optimizers: Sequence[Optimizer], **fields: Any
) -> tuple[Setting, ...]:
    """Return a setting for each pair of a problem and an optimizer.

    `fields` has the values of the other fields of all settings.
    """
    return tuple(
        Setting(problem=problem, optimizer=optimizer, **fields)
        for problem, optimizer in itertools.product(problems, optimizers)
    )


def over_rho(
    rhos: Sequence[float], learning_rates: Sequence[float], alphas: Sequence[float]
) -> tuple[Optimizer, ...]:
    """Return SGD, SAM and GNP with all combinations of their own values."""
    pairs = list(itertools.product(learning_rates, rhos))
    return (
        *(SGD(lr=lr) for lr in learning_rates),
        *(SAM(lr=lr, rho=rho) for lr, rho in pairs),
        *(GNP(lr=lr, rho=rho, alpha=alpha) for alpha in alphas for lr, rho in pairs),
    )


def with_gsam(learning_rates: Sequence[float]) -> tuple[Optimizer, ...]:
    """Return SGD, SAM, GNP and GSAM with the usual rho and alpha."""
    gsam = tuple(GSAM(lr=lr, rho=RHO) for lr in learning_rates)
    return over_rho([RHO], learning_rates, [ALPHA]) + gsam


NETWORK: dict[str, Any] = {"hidden": (100, 100, 100), "batch_size": 16}
MNIST: dict[str, Any] = {"dataset": "mnist", "epochs": 1, **NETWORK}
# two epochs, because mnist-5k has 14 times fewer examples in a task than MNIST
DIGITS: dict[str, Any] = {"dataset": "mnist-5k", "epochs": 2, **NETWORK}

PAPER_OPTIMIZERS = over_rho([RHO], LEARNING_RATES, [ALPHA])
# without the two smallest learning rates: they are too small for 5,000 digits
SMALL_MAP_OPTIMIZERS = over_rho(RHOS[::2], MAP_LEARNING_RATES[:3], [ALPHA])


def quickstart() -> tuple[Setting, ...]:
    """Return two settings that lose plasticity and two settings that keep it.

    The batch size is 1, because larger batches make too few updates on 5,000 digits to
    show a loss of plasticity. This table was used to choose the settings. It shows the
    change of accuracy on 40 tasks, as a mean over ten seeds (five seeds for *) with a
    95% interval. The change is the mean accuracy on the last tenth of the tasks minus
    the mean accuracy on tasks 1 to 4, in percentage points.

    | optimizer                          | change       |
    | ---------------------------------- | -----------: |
    | SGD, lr 0.01                       |  -3.3 +- 1.4 |
    | SGD, lr 0.003                      |  -0.6 +- 0.7 |
    | SGD, lr 0.003, weight decay 0.001  |  +0.4 +- 0.6 |
    | SAM, lr 0.01, rho 0.05             | -16.2 +- 4.6 |
    | SAM, lr 0.003, rho 0.05 *          | -10.1 +- 1.3 |
    | GNP, lr 0.01, rho 0.05, alpha 0.8  | -10.1 +- 2.1 |

    On the problem `pairwise`, these digits show no loss of plasticity.
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
    """Return settings with each intervention, and baseline settings without one.

    Each intervention is combined with SGD, SAM and Adam. Adam has its usual learning
    rate, 0.001. The hyperparameters are not tuned here: most are the defaults, which
    come from the papers, and some are the values that Kumar et al. 2023 found best on
    permuted MNIST (Table 3, see docs/remedies.md).
    """
    shared: dict[str, Any] = {"tasks": 20, **DIGITS}
    settings = []
    for kind, base, lr, shrink in (
        (SGD, None, 0.01, 0.0001),
        (SAM, None, 0.01, 0.0001),
        (SGD, Adam(), 0.001, 0.001),
    ):
        published = {
            "l2_init": {"init_decay": 0.01},
            "step_shrink_perturb": {"step_shrink": shrink, "step_perturb": 0.01},
        }
        fields: dict[str, Any] = {"optimizer": kind(lr=lr), "base": base, **shared}
        decayed = {**fields, "optimizer": kind(lr=lr, weight_decay=0.01)}
        settings += [Setting(**fields), Setting(**decayed)]
        for name, intervention in INTERVENTIONS.items():
            own = published.get(name, {})
            settings.append(Setting(**fields, intervention=intervention(**own)))
    settings.append(Setting(optimizer=SAM(lr=0.001), base=Adam(), **shared))
    settings.append(Setting(optimizer=ASAM(lr=0.01), **shared))
    return tuple(settings)


def family() -> tuple[Setting, ...]:
    """Return all optimizers with their default values, on 100 permutations.

    Each optimizer has two learning rates and two radii of the ascent step: its default
    radius and, because large radii do harm here, a fifth of its default. MSAM has
    momentum 0.9, which makes its steps ten times as long, so its learning rates are
    ten times smaller. SGD with momentum 0.9 is the baseline of MSAM.
    """
    optimizers: list[Optimizer] = []
    for lr in MAP_LEARNING_RATES[1:3]:
        optimizers += [SGD(lr=lr), SGD(lr=lr / 10, momentum=0.9)]
        for kind in OPTIMIZERS.values():
            if not issubclass(kind, SAM | GNP):
                continue
            default = kind()
            rate = lr * (1 - default.momentum)
            optimizers += [
                kind(lr=round(rate, 6), rho=rho)
                for rho in (default.rho, default.rho / 5)
            ]
    return grid([Permuted()], optimizers, **DIGITS)


def rho_laptop() -> tuple[Setting, ...]:
    """Return SGD, SAM and GNP with six values of rho and three batch sizes.

    The streams have their full length (100 tasks of `permuted`, 45 of `pairwise`), and
    the dataset has 5,000 digits. Smaller batches need smaller learning rates. A task
    has two epochs, but only one if the batch size is 1, because an epoch then has many
    updates.
    """
    settings: list[Setting] = []
    for batch_size, epochs, largest in ((1, 1, 0.01), (16, 2, 0.03), (64, 2, 0.1)):
        rates = [rate for rate in MAP_LEARNING_RATES if rate <= largest][:3]
        fields = {**DIGITS, "batch_size": batch_size, "epochs": epochs}
        optimizers = over_rho(LAPTOP_RHOS, rates, [ALPHA])
        settings += grid([Permuted(), Pairwise()], optimizers, **fields)
    return tuple(settings)


def rho_everywhere() -> tuple[Setting, ...]:
    """Return SGD, SAM and GNP with many values of rho and three batch sizes.

    With an alpha above 1, GNP differs more from SGD than SAM does. The batch sizes 1
    and 64 have only three step sizes around the best one.
    """
    settings: list[Setting] = []
    for batch_size, rates in (
        (16, MAP_LEARNING_RATES),
        (1, MAP_LEARNING_RATES[2:]),
        (64, MAP_LEARNING_RATES[:3]),
    ):
        optimizers = over_rho(RHOS, rates, [0.5, ALPHA, 2.0])
        fields = {**MNIST, "batch_size": batch_size}
        settings += grid([Permuted(), Pairwise()], optimizers, **fields)
    return tuple(settings)


def rho_why() -> tuple[Setting, ...]:
    """Return variants of SAM for values with which SAM does harm.

    The batch size is 1, and rho is 0.05 or 0.1. In the variants with warm-up, rho rises
    from 0 during the first tenth of each task, or during the whole task. VaSSO with a
    small theta ascends along the average gradient, and F-SAM along the gradient of the
    batch minus the average gradient.
    """
    lr, updates = 0.003, DATASETS["mnist-5k"].train  # updates of a task
    optimizers: list[Optimizer] = [SGD(lr=lr)]
    for rho in (RHO, 2 * RHO):
        optimizers += [
            SAM(lr=lr, rho=rho),
            SAM(lr=lr, rho=rho, rho_warmup=updates // 10),
            SAM(lr=lr, rho=rho, rho_warmup=updates),
            VaSSO(lr=lr, rho=rho, vasso_theta=0.1),
            VaSSO(lr=lr, rho=rho, vasso_theta=0.01),
            FSAM(lr=lr, rho=rho),
        ]
    return grid([Permuted()], optimizers, **{**DIGITS, "batch_size": 1, "epochs": 1})


def fashion() -> tuple[Setting, ...]:
    """Return SGD, SAM, GNP and GSAM with an MLP and a convolutional network.

    Both networks train on the same streams of Fashion-MNIST: the 45 pairs of classes,
    and permutations of the labels. The convolutional network is small, and a task has
    few examples, so that the study fits a laptop. A task has few updates, so the
    learning rates are larger than those of the paper. The loss landscape is not
    measured, because it takes half a minute per seed of the convolutional network.
    """
    small_conv = Conv(conv_channels="8-16-32")
    settings: list[Setting] = []
    for problem, tasks, examples in (
        (Pairwise(), 45, 2000),
        (LabelPermuted(), 30, 3000),
    ):
        for network, hidden in ((None, (100, 100, 100)), (small_conv, (64, 64))):
            settings += grid(
                [problem],
                with_gsam(MAP_LEARNING_RATES[1:3]),
                dataset="fashion-mnist",
                network=network,
                hidden=hidden,
                tasks=tasks,
                examples=examples,
                batch_size=16,
            )
    return tuple(settings)


def cifar() -> tuple[Setting, ...]:
    """Return SGD, SAM, GNP and GSAM on pairs of classes of CIFAR-100, for a GPU.

    The network and the stream are those of Dohare et al. 2024 on ImageNet, with batches
    of 100 images. CIFAR-100 has 50 pairs, so each pair occurs four times. A task has 50
    epochs, and not 250 as theirs, because its 1,000 images are learned sooner.
    """
    return grid(
        [ClassPairs()],
        with_gsam(LEARNING_RATES),
        dataset="cifar-100",
        network=Conv(),
        tasks=200,
        epochs=50,
        batch_size=100,
        normalization="dataset",
    )


def control() -> tuple[Setting, ...]:
    """Return settings of CartPole with goals that move: Adam, SAM, GNP and remedies.

    Observations stay as they are. The networks are small and the levels short, so that
    a laptop can run all settings.
    """
    problem = CartPole(level_iterations=30, observation_offset=0.0, goal_range=1.5)
    shared: dict[str, Any] = {**TANG, "problem": problem, "hidden": (64, 64)}
    optimizers = over_rho(CONTROL_RHOS, [0.001], [ALPHA])
    remedies = Fresh(), L2Init(init_decay=0.01), LayerNorm()
    return (
        *(Setting(**{**shared, "optimizer": own}) for own in optimizers),
        *(Setting(**shared, intervention=remedy) for remedy in remedies),
    )


def control_rewards() -> tuple[Setting, ...]:
    """Return settings of levels that differ only in rewards, for PPO and DQN.

    In the grid, the goal moves. In CartPole, each step of every second level has the
    reward -1 or 10 instead of 1. The settings are Adam, SAM with Adam, and a network
    that is fresh in each level.
    """
    shared: dict[str, Any] = {**TANG, "hidden": (64, 64)}
    learners: tuple[Row, ...] = {}, dict(learner=DQN(), epochs=1, batch_size=64)
    poles = [
        CartPole(level_iterations=30, observation_offset=0.0, odd_reward=factor)
        for factor in (-1.0, 10.0)
    ]
    settings = []
    for problem in (Grid(level_iterations=30), *poles):
        for learner in learners:
            fields = {**shared, "problem": problem, **learner}
            sam = {**fields, "optimizer": SAM(lr=0.001, rho=CONTROL_RHOS[2])}
            settings += [Setting(**fields), Setting(**sam)]
            settings.append(Setting(**fields, intervention=Fresh()))
    return tuple(settings)


def policy_evaluation() -> tuple[Setting, ...]:
    """Return settings of TD on random walks: SGD and Adam, SAM and GNP, and `Fresh`."""
    shared: dict[str, Any] = {"problem": TD(td_steps=5000), "hidden": (50, 50)}
    shared |= {"tasks": 30, "batch_size": 16}
    settings = []
    for base, lr in ((None, 0.1), (Adam(), 0.001)):
        for own in over_rho(CONTROL_RHOS, [lr], [ALPHA]):
            setting = Setting(optimizer=own, base=base, **shared)
            settings.append(setting)
            if isinstance(own, SGD):
                settings.append(attrs.evolve(setting, intervention=Fresh()))
    return tuple(settings)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "quickstart",
            quickstart(),
            seeds=range(5),
            about="two settings lose plasticity, two keep it; about two minutes",
        ),
        Study(
            "paper",
            grid([Permuted(), Pairwise()], PAPER_OPTIMIZERS, **MNIST),
            seeds=range(10),
            about="Tables 1 and 2 and Figures 4 and 5 of Koster & Kukla 2024",
        ),
        Study(
            "rho",
            rho_everywhere(),
            seeds=range(10),
            about="many values of rho, lr and batch size; use --refine or a cluster",
        ),
        Study(
            "rho-small",
            grid([Permuted()], SMALL_MAP_OPTIMIZERS, tasks=20, **DIGITS)
            + grid([Pairwise()], SMALL_MAP_OPTIMIZERS, **DIGITS),
            seeds=range(5),
            about="a smaller version of the study rho: every second rho, 5,000 digits",
            landscape_every=45,
        ),
        Study(
            "rho-laptop",
            rho_laptop(),
            seeds=range(5),
            about="three batch sizes: from which rho on do SAM and GNP do harm?",
            landscape_every=33,
        ),
        Study(
            "rho-why",
            rho_why(),
            seeds=range(5),
            about="if SAM does harm, does warm-up or an averaged direction help?",
            landscape_every=33,
        ),
        Study(
            "remedies",
            remedies(),
            seeds=range(5),
            about="every intervention with SGD, SAM and Adam",
            landscape_every=20,
        ),
        Study(
            "family",
            family(),
            seeds=range(5),
            about="every sharpness-aware optimizer with its default rho, and less",
            landscape_every=33,
        ),
        Study(
            "fashion",
            fashion(),
            seeds=range(10),
            about="an MLP and a convolutional network on the same streams",
            landscape_every=0,
        ),
        Study(
            "cifar",
            cifar(),
            seeds=range(10),
            about="pairs of CIFAR-100 with a convolutional network; for a GPU",
            landscape_every=50,
        ),
        Study(
            "dohare-2024",
            dohare_2024(),
            seeds=range(10),
            about="online permuted MNIST of Dohare et al. 2024; SAM and GNP beside it",
        ),
        Study(
            "kumar-2023",
            kumar_2023(),
            seeds=range(5),
            about="20 tasks of Kumar et al. 2023: L2-init and other remedies with Adam",
        ),
        Study(
            "plastic-asymmetry",
            grid(
                [Permuted(), LabelPermuted(), Accumulating(chunks=40)],
                over_rho([RHO, 0.1], [0.01, 0.03], []),
                **{**DIGITS, "tasks": 40, "examples": 1000, "epochs": 8},
            ),
            seeds=range(5),
            about="does SAM help with new inputs, and not with new labels?",
        ),
        Study(
            "random-labels",
            random_labels(),
            seeds=range(5),
            about="memorize random labels: L2-init and weight decay with Adam",
        ),
        Study(
            "control-calibration",
            control_calibration(),
            seeds=range(6),
            about="continual CartPole of Tang et al. 2025 with PPO: a network that is "
            "never reset, fresh networks, and L2-init",
            landscape_every=3,
        ),
        Study(
            "control-laptop",
            control_laptop(),
            seeds=range(6),
            about="control-calibration with shorter levels and smaller networks",
            landscape_every=3,
        ),
        Study(
            "control",
            control(),
            seeds=range(6),
            about="CartPole with goals that move: Adam, SAM and GNP, and remedies",
            landscape_every=1,
        ),
        Study(
            "control-rewards",
            control_rewards(),
            seeds=range(5),
            about="goals, signs or sizes of rewards change: PPO and DQN with Adam",
            landscape_every=1,
        ),
        Study(
            "td",
            policy_evaluation(),
            seeds=range(5),
            about="learn the values of random walks with TD: SGD, Adam, SAM and GNP",
        ),
    )
}
