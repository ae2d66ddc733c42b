"""A setting: everything that determines a run except its seed.

A setting can be written as a row of plain values. The row is used as Ray Tune's config,
as the input of the hashes, and as a part of each record. Its columns are derived from
the fields of `Setting` and of the parts in the registries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs

from trainables.bases import BASES, Adam
from trainables.data.datasets import DATASETS
from trainables.hyperparameter import (
    Column,
    check_whole,
    hyperparameters,
    text,
    whole,
)
from trainables.interventions import INTERVENTIONS, Intervention
from trainables.optimizers import OPTIMIZERS, SGD, Optimizer
from trainables.problems import PROBLEMS, Permuted, Problem
from trainables.usage import UsageError, choose

Row = dict[str, Any]

REGISTRIES: dict[str, Mapping[str, type]] = {
    **{"problem": PROBLEMS, "optimizer": OPTIMIZERS},
    **{"intervention": INTERVENTIONS, "base": BASES},
}
"""The possible parts of a setting that have hyperparameters, by kind and name."""


def parse_hidden(value: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers, given as numbers or as text.

    >>> parse_hidden("20-10")
    (20, 10)

    Raises:
        UsageError: There is no width, or a width is not a whole number above 0.
    """
    if isinstance(value, tuple | list):
        widths = tuple(check_whole("hidden", width) for width in value)
        if not widths:
            raise UsageError("hidden is empty: give at least one width, as in 100-100")
        return widths
    parts = str(value).split("-")
    if not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"hidden is {value!r}: give widths joined by '-', as 100-100")
    return tuple(map(int, parts))


@attrs.frozen(kw_only=True)
class Setting:
    """The problem, network, optimizer, intervention and training schedule of a run.

    Each field states its meaning. The problem, the optimizer, the intervention and the
    base are objects that may have more hyperparameters.

    Raises:
        UsageError: A value is out of range, or two values cannot be combined.
    """

    problem: Problem = text(attrs.Factory(Permuted), meaning="how the stream is made")
    dataset: str = text(
        "mnist",
        lambda value, field: choose(field.name, value, DATASETS),
        meaning="what the tasks are made from",
    )
    tasks: int = whole(
        attrs.Factory(lambda setting: setting.problem.default_tasks, takes_self=True),
        unit="tasks",
        meaning="length of the stream",
    )
    epochs: int = whole(
        1, unit="epochs", meaning="passes over each task's training examples"
    )
    batch_size: int = whole(16, unit="examples", meaning="examples per update")
    hidden: tuple[int, ...] = text(
        (100, 100, 100),
        lambda value, _: parse_hidden(value),
        unit="units",
        meaning="widths of the hidden layers, as 100-100-100",
    )
    optimizer: Optimizer = text(
        attrs.Factory(SGD), meaning="where the gradient is taken"
    )
    intervention: Intervention | None = text(
        None, meaning="what else is done to keep plasticity"
    )
    base: Adam | None = text(None, meaning="turns the gradient into a step; null: SGD")

    def __attrs_post_init__(self) -> None:
        longest = self.problem.longest
        if longest is not None and self.tasks > longest:
            raise UsageError(
                f"tasks is {self.tasks}: {self.problem.name} has only {longest} tasks, "
                f"so use at most {longest}"
            )
        if self.base is not None and self.optimizer.momentum:
            raise UsageError(
                f"momentum is {self.optimizer.momentum:g}, but base {self.base.name} "
                "averages the gradient itself (beta1): leave momentum out"
            )

    def row(self) -> Row:
        """Return plain values by column, None where a column does not apply.

        >>> row = Setting().row()
        >>> row["optimizer"], row["lr"], row["rho"], row["hidden"]
        ('sgd', 0.01, None, '100-100-100')
        """
        row: Row = dict.fromkeys(SETTING_COLUMNS)
        for name, value in attrs.asdict(self, recurse=False).items():
            if name in REGISTRIES and value is not None:
                row |= {name: value.name, **attrs.asdict(value)}
            else:
                row[name] = value
        row["hidden"] = "-".join(map(str, self.hidden))
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Setting:
        """Return the setting that a row describes; missing values get their defaults.

        >>> Setting.from_row({"optimizer": "sam", "roh": 0.1})
        Traceback (most recent call last):
        trainables.usage.UsageError: unknown hyperparameter 'roh': did you mean 'rho'...

        Raises:
            UsageError: A key of `row` is unknown, does not belong to the parts that
                the row names, or has a wrong value.
        """
        values = {name: value for name, value in row.items() if value is not None}
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
                owners = " and ".join(f"{k} {part.name}" for k, part in parts.items())
                raise UsageError(f"{name} does not belong to {owners}: leave it out")
        return cls(**parts, **values)

    @property
    def setting_id(self) -> str:
        """The hash of the row without nulls: a new null column does not change it."""
        return digest(self.row())

    def run_id(self, seed: int) -> str:
        """Return the hash of setting and seed, which does not depend on the stack."""
        return digest(self.row() | {"seed": seed})


def _derive_columns() -> dict[str, Column]:
    """Return the columns of the fields of `Setting` and of all parts.

    A column is not nullable if every setting has a value for it.
    """
    columns: dict[str, Column] = {}
    for name, column in hyperparameters(Setting).items():
        is_optional = name in ("intervention", "base")
        columns[name] = attrs.evolve(column, nullable=is_optional)
        parts = [hyperparameters(part) for part in REGISTRIES.get(name, {}).values()]
        for part in parts:
            for own, own_column in part.items():
                nullable = is_optional or not all(own in other for other in parts)
                columns[own] = attrs.evolve(own_column, nullable=nullable)
    return columns


SETTING_COLUMNS: dict[str, Column] = _derive_columns()


def digest(row: Row) -> str:
    """Return the hash of a row without its nulls."""
    values = {name: value for name, value in row.items() if value is not None}
    content = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _at_least(low: int) -> Any:
    return lambda _, field, value: check_whole(field.name, value, low)


@attrs.frozen(kw_only=True)
class RunOptions:
    """Options of runs that do not change weights, accuracy or loss.

    Attributes:
        checkpoint_every: Tasks between two checkpoints. None means about one checkpoint
            per minute.
        patience: While storage fails, retry for this many seconds before the trial
            fails.
        landscape_every: Tasks between two measurements of the loss landscape (sharpness
            etc.). The first and the last task are always measured. 0 measures no task.
        look_back: After each task, test on this many of the previous tasks too.

    Raises:
        UsageError: A number is out of range.
    """

    checkpoint_every: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_at_least(1))
    )
    patience: float = 600.0
    landscape_every: int = attrs.field(default=10, validator=_at_least(0))
    look_back: int = attrs.field(default=0, validator=_at_least(0))
