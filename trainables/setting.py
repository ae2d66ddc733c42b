"""A setting: everything that determines a run except its seed.

A setting can be converted to a row, which is a dict of plain values. The row is used in
Ray Tune's config, in the hashes that identify settings and runs, and in each record.
The columns of the row are derived from the fields of `Setting` and of the classes in
`REGISTRIES`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from trainables.bases import BASES, Adam
from trainables.data.dataset import NOTHING
from trainables.data.datasets import DATASETS
from trainables.hyperparameter import (
    REAL,
    Column,
    check_whole,
    choice,
    hyperparameters,
    parse_widths,
    real,
    text,
    whole,
)
from trainables.interventions import INTERVENTIONS, Intervention
from trainables.learners import DQN, LEARNERS
from trainables.networks import MLP, NETWORKS, ActorCritic, Architecture
from trainables.networks.activations import ACTIVATIONS
from trainables.networks.architecture import INITIALIZATIONS
from trainables.optimizers import GNP, OPTIMIZERS, SGD, Optimizer
from trainables.problems import PROBLEMS, Form, Permuted, Problem
from trainables.usage import UsageError, choose

Row = dict[str, Any]

REGISTRIES: dict[str, Mapping[str, type]] = {
    **{"problem": PROBLEMS, "optimizer": OPTIMIZERS},
    **{"intervention": INTERVENTIONS, "base": BASES, "network": NETWORKS},
    **{"learner": LEARNERS},
}
"""The classes of each kind of part (e.g. optimizer) of a setting, by name."""

# the interventions that replace units: they need units with one output each
ONE_OUTPUT = ("continual_backprop", "redo", "snr")
# the interventions that need plain layers (see `Architecture.is_plain`)
PLAIN_LAYERS = ("layer_norm", "parseval", "spectral_norm", "spectral_regularization")


def parse_hidden(value: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers (see `parse_widths`), or () if empty."""
    return parse_widths("hidden", value) if value not in ("", (), []) else ()


@attrs.frozen(kw_only=True)
class Setting:
    """The problem, network, optimizer, intervention and training schedule of a run.

    The parts of a setting (`REGISTRIES`) are objects with their own hyperparameters.

    Raises:
        UsageError: A value is out of range, or two values cannot be combined.
    """

    problem: Problem = text(
        attrs.Factory(Permuted), meaning="kind of the stream of tasks"
    )
    dataset: str = choice(
        attrs.Factory(
            lambda own: NOTHING if own.problem.control else "mnist", takes_self=True
        ),
        DATASETS,
        meaning="dataset from which the tasks are made; none: no images (control)",
    )
    tasks: int = whole(
        attrs.Factory(
            lambda own: min(own.problem.default_tasks, own.longest or math.inf),
            takes_self=True,
        ),
        unit="tasks",
        meaning="length of the stream",
    )
    epochs: int = whole(
        1, unit="epochs", meaning="passes over each task's training examples"
    )
    batch_size: int = whole(16, unit="examples", meaning="examples per update")
    network: Architecture | None = text(
        None,
        lambda value, _: None if type(value) is MLP else value,
        meaning="architecture of the network; null: mlp, a multilayer perceptron",
    )
    hidden: tuple[int, ...] = text(
        attrs.Factory(lambda own: (own.network or MLP()).hidden, takes_self=True),
        lambda value, _: parse_hidden(value),
        unit="units",
        meaning="widths of the dense hidden layers, e.g. 100-100-100",
    )
    optimizer: Optimizer = text(
        attrs.Factory(SGD), meaning="optimizer that computes the gradient"
    )
    intervention: Intervention | None = text(
        None, meaning="extra method to keep plasticity; null: no method"
    )
    base: Adam | None = text(
        None, meaning="rule that turns the gradient into a step; null: SGD"
    )
    examples: int | None = whole(
        None,
        unit="examples",
        meaning="training examples of each task, drawn anew for each task; null: all",
    )
    initialization: str | None = choice(
        None,
        INITIALIZATIONS,
        meaning="distribution of the initial weights: pytorch (the default of "
        "torch.nn.Linear); null: Kaiming uniform, with zero biases",
    )
    activation: str | None = choice(
        None,
        ACTIVATIONS,
        meaning="activation function of the hidden layers: leaky_relu, "
        "leaky_relu_tenth (slope 0.1), tanh, crelu, sine_cosine; null: ReLU",
    )
    input_low: float | None = real(
        None,
        -1.0,
        0.0,
        exclude_high=True,
        meaning="input of a black pixel; the input of a white pixel is 1; null: 0",
    )
    normalization: str | None = choice(
        None,
        ("dataset",),
        meaning="scale of the inputs: dataset (on the training images, each channel "
        "has mean 0 and standard deviation 1); null: a white pixel is 1",
    )
    learner: DQN | None = text(
        None, meaning="control: how a network that acts learns, e.g. dqn; null: PPO"
    )

    def __attrs_post_init__(self) -> None:
        self._check_dataset()
        longest = self.longest
        if longest is not None and self.tasks > longest:
            raise UsageError(
                f"tasks is {self.tasks}: {self.problem.name} has only {longest} tasks, "
                f"so use at most {longest}"
            )
        if self.base is not None and self.optimizer.momentum:
            raise UsageError(
                f"momentum is {self.optimizer.momentum:g}, but base {self.base.name} "
                "already averages the gradient (beta1): leave out momentum, or set it "
                "to 0"
            )
        if self.normalization and self.input_low is not None:
            raise UsageError(
                f"input_low is {self.input_low:g}, but --normalization "
                f"{self.normalization} already sets the input of a black pixel: leave "
                "out input_low or normalization"
            )
        self._check_network()
        self._check_intervention()
        available = DATASETS[self.dataset].train
        if self.examples is not None and self.examples > available:
            raise UsageError(
                f"examples is {self.examples}: {self.dataset} has only {available} "
                f"training examples, so use at most {available}"
            )

    def _check_dataset(self) -> None:
        """Check that the learner and the values for images fit the problem."""
        name, images = self.problem.name, self.dataset != NOTHING
        if self.learner is not None and not self.problem.acts:
            raise UsageError(
                f"the setting has learner {self.learner.name}, but in problem {name} "
                "the network chooses no actions: leave out learner"
            )
        if self.problem.control is None:
            if not images:
                raise UsageError(
                    f"dataset is {NOTHING}, but problem {name} needs images: choose "
                    "another dataset"
                )
            return
        if images:
            raise UsageError(
                f"dataset is {self.dataset}, but problem {name} has no images: leave "
                "out dataset"
            )
        for field in ("network", "examples", "input_low", "normalization"):
            if getattr(self, field) is not None:
                raise UsageError(
                    f"the setting has {field}, but problem {name} has no images: leave "
                    f"out {field}"
                )

    @property
    def form(self) -> Form:
        """The size and the classes of the images. In control, see `Problem.control`."""
        return self.problem.control or DATASETS[self.dataset].form

    @property
    def architecture(self) -> Architecture:
        """The architecture of the network. With PPO, it is `ActorCritic`."""
        if self.problem.acts and self.learner is None:
            return ActorCritic()
        return self.network or MLP()

    @property
    def outputs(self) -> int:
        """The number of outputs of the network, one for each label of a task."""
        return self.problem.outputs or self.form.classes

    @property
    def longest(self) -> int | None:
        """The maximum number of tasks in the stream, or None if there is no limit."""
        return self.problem.longest(self.form)

    def _check_network(self) -> None:
        """Check that the network fits the images, `hidden` and `activation`."""
        network = self.architecture
        network.check(self.form)
        if network.hidden and not self.hidden:
            raise UsageError("hidden is empty: give at least one width, e.g. 100-100")
        if self.activation is not None and not network.is_plain:
            raise UsageError(
                f"activation is {self.activation}, but network {network.name} has its "
                "own activation: leave out activation"
            )

    def _check_intervention(self) -> None:
        """Check that the network has the layers that the intervention needs."""
        name = self.intervention.name if self.intervention else ""
        network = self.architecture
        noise = getattr(self.intervention, "step_noise", None)
        normalizes = bool(self.intervention and self.intervention.normalizes)
        if not network.is_plain and (normalizes or name in PLAIN_LAYERS):
            raise UsageError(
                f"intervention {name} changes layers that have only weights and "
                f"biases, but network {network.name} has other layers: leave out the "
                "intervention"
            )
        if not network.is_plain and noise == "initial":
            raise UsageError(
                f"intervention {name} draws noise like initial weights, but network "
                f"{network.name} has initial weights that are not drawn at random: set "
                "step_noise to normal"
            )
        if not network.is_chain and name in ONE_OUTPUT:
            raise UsageError(
                f"intervention {name} needs a network in which each layer reads only "
                f"the layer before it, but in network {network.name} some layers read "
                "other layers too: leave out the intervention"
            )
        outputs = ACTIVATIONS[self.activation].outputs if self.activation else 1
        if outputs > 1 and name in ONE_OUTPUT:
            raise UsageError(
                f"intervention {name} needs units with one output, but units with "
                f"activation {self.activation} have {outputs} outputs: leave out the "
                "intervention or choose another activation"
            )

    def row(self) -> Row:
        """Return the setting as a row: a dict of plain values, by column.

        If a column does not apply to the setting, its value is None.

        >>> row = Setting().row()
        >>> row["optimizer"], row["lr"], row["rho"], row["hidden"]
        ('sgd', 0.01, None, '100-100-100')
        """
        row: Row = dict.fromkeys(SETTING_COLUMNS)
        for name, value in attrs.asdict(self, recurse=False).items():
            is_part = name in REGISTRIES and value is not None
            row |= part_row(name, value) if is_part else {name: value}
        row["hidden"] = "-".join(map(str, self.hidden))
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Setting:
        """Return the setting that a row describes. Missing values get their defaults.

        >>> Setting.from_row({"optimizer": "sam", "roh": 0.1})
        Traceback (most recent call last):
        trainables.usage.UsageError: unknown hyperparameter 'roh': did you mean 'rho'...

        Raises:
            UsageError: A key of `row` is unknown, its value is wrong, or it is a
                hyperparameter of a part (e.g. an optimizer) that is not in the row.
        """
        values = without_nulls(row)
        for name in values:
            choose("hyperparameter", name, SETTING_COLUMNS)
        parts: dict[str, Any] = {}
        for kind, registry in REGISTRIES.items():
            default = getattr(cls(), kind)
            key = values.pop(kind, default and default.name)
            if key is not None:
                part = registry[choose(kind, key, registry)]
                names = values.keys() & hyperparameters(part)
                parts[kind] = part(**{name: values.pop(name) for name in names})
        for name in values:
            if name not in hyperparameters(cls):
                own = " nor ".join(f"its {k} {part.name}" for k, part in parts.items())
                raise UsageError(
                    f"the setting has {name}, but neither {own} has a hyperparameter "
                    f"{name}: leave out {name}"
                )
        return cls(**parts, **values)

    @property
    def setting_id(self) -> str:
        """The hash of the setting's row without nulls.

        A new column therefore does not change the hash of a setting that lacks it.
        """
        return digest(self.row())

    def run_id(self, seed: int) -> str:
        """Return the hash of the setting and this seed, which identifies a run."""
        return digest(self.row() | {"seed": seed})


_PERTURB = "old records: standard deviation of the noise added to weights before a task"
RETIRED_COLUMNS = {"perturb": Column(REAL, True, "setting", "", _PERTURB)}
"""Columns of hyperparameters that no longer exist. They are null in new records.

Old records have the intervention shrink_perturb with the columns shrink and perturb.
"""


def _derive_columns() -> dict[str, Column]:
    """Return the columns of `Setting` and of all `REGISTRIES`, and the retired columns.

    A column is nullable if some settings have no value for it.
    """
    columns: dict[str, Column] = {}
    for name, column in hyperparameters(Setting).items():
        is_optional = attrs.fields_dict(Setting)[name].default is None
        columns[name] = attrs.evolve(column, nullable=is_optional)
        parts = [hyperparameters(part) for part in REGISTRIES.get(name, {}).values()]
        for part in parts:
            for own, own_column in part.items():
                nullable = is_optional or not all(own in other for other in parts)
                columns[own] = attrs.evolve(own_column, nullable=nullable)
    return columns | RETIRED_COLUMNS


SETTING_COLUMNS: dict[str, Column] = _derive_columns()


def part_row(kind: str, part: Any) -> Row:
    """Return the columns of a part of a setting: its name and its hyperparameters."""
    return {kind: part.name, **attrs.asdict(part)}


def without_nulls(row: Mapping[str, Any]) -> Row:
    """Return the row without the columns whose value is None."""
    return {name: value for name, value in row.items() if value is not None}


def digest(row: Row) -> str:
    """Return a hash of the row's values that are not None, as 16 hexadecimal digits."""
    content = json.dumps(without_nulls(row), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _at_least(low: int) -> Any:
    return lambda _, field, value: check_whole(field.name, value, low)


def common_setting(setting: Setting) -> Setting | None:
    """Return what a setting has in common with the settings that can train with it.

    `trainables.joint` trains the networks of such settings together on a GPU.

    Two settings can train together if their results are equal and not None. The result
    has default values of lr, rho and alpha. SAM and GNP are the same rule with another
    alpha, and their result has GNP. The result is None if nothing can train together
    with the setting.

    >>> from trainables.optimizers import GNP, SAM
    >>> sam, gnp = Setting(optimizer=SAM(rho=0.1)), Setting(optimizer=GNP(lr=0.1))
    >>> common_setting(sam) == common_setting(gnp) == Setting(optimizer=GNP())
    True
    >>> common_setting(Setting(optimizer=SGD(lr=0.5, momentum=0.9))).optimizer
    SGD(lr=0.01, momentum=0.9, weight_decay=0.0)
    """
    optimizer, intervention = setting.optimizer, setting.intervention
    is_perceptron = setting.network is None and setting.activation is None
    if setting.problem.control is not None or setting.problem.grows:
        return None
    if intervention is not None and (intervention.steps or intervention.normalizes):
        return None
    if not (is_perceptron and optimizer.is_mixture) or optimizer.scales_ascent:
        return None
    kind = GNP if optimizer.passes > 1 else SGD
    plain = kind(momentum=optimizer.momentum, weight_decay=optimizer.weight_decay)
    return attrs.evolve(setting, optimizer=plain)


@attrs.frozen(kw_only=True)
class RunOptions:
    """Options of a run that do not change its weights, accuracy or loss.

    Attributes:
        checkpoint_every: The number of tasks between two checkpoints. None means about
            one checkpoint per minute.
        patience: If storage fails, retry for this many seconds before the trial fails.
        landscape_every: The number of tasks between two measurements of the loss
            landscape (e.g. sharpness). The first and the last task are also measured.
            With 0, no task is measured.
        look_back: After each task, also test on this many of the previous tasks.

    Raises:
        UsageError: A number is out of range.
    """

    checkpoint_every: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_at_least(1))
    )
    patience: float = 600.0
    landscape_every: int = attrs.field(default=10, validator=_at_least(0))
    look_back: int = attrs.field(default=0, validator=_at_least(0))
