"""A setting: all that fixes a run but its seed, as one row of plain values.

The row is at once Ray Tune's config, the preimage of the identifiers and the records'
columns. It comes back strictly: what it names must exist, and must belong there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.bases import BASES, Adam
from trainables.checks import whole
from trainables.datasets import DATASETS
from trainables.interventions import INTERVENTIONS, Intervention
from trainables.optimizers import OPTIMIZERS, SGD, Optimizer
from trainables.problems import PROBLEMS, Permuted, Problem
from trainables.record import WHAT
from trainables.usage import UsageError, choose

Row = dict[str, Any]

REGISTRIES: dict[str, Mapping[str, type]] = {
    "problem": PROBLEMS,
    "optimizer": OPTIMIZERS,
    "base": BASES,
    "intervention": INTERVENTIONS,
}
"""The parts of a setting that have hyperparameters of their own."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One problem, network, optimizer, intervention and way of training.

    Attributes:
        problem: The stream of tasks.
        optimizer: The optimizer with its hyperparameters.
        base: What makes the step of the optimizer's gradient; None: SGD.
        intervention: What else is done to keep plasticity; None: nothing.
        dataset: What the tasks are made from.
        tasks: Length of the stream; None becomes the problem's own.
        epochs: Passes over each task's training examples.
        batch_size: Examples per update; a last short batch is kept.
        hidden: Widths of the hidden layers.
    """

    problem: Problem = field(default_factory=Permuted)
    optimizer: Optimizer = field(default_factory=SGD)
    base: Adam | None = None
    intervention: Intervention | None = None
    dataset: str = "mnist"
    tasks: int = None  # type: ignore[assignment]  # not None once checked
    epochs: int = 1
    batch_size: int = 16
    hidden: tuple[int, ...] = (100, 100, 100)

    def __post_init__(self) -> None:
        """Check the values."""
        choose("dataset", self.dataset, DATASETS)
        own = self.problem.default_tasks
        tasks = own if self.tasks is None else whole("tasks", self.tasks)
        object.__setattr__(self, "tasks", tasks)
        longest = self.problem.longest
        if longest is not None and self.tasks > longest:
            raise UsageError(
                f"tasks is {self.tasks}: "
                f"{self.problem.name} has only {longest}, ask for at most as many"
            )
        if self.base is not None and self.optimizer.momentum:
            raise UsageError(
                f"momentum is {self.optimizer.momentum:g} with base {self.base.name}, "
                "which has averages of its own (beta1): leave momentum out"
            )
        whole("epochs", self.epochs)
        whole("batch_size", self.batch_size)
        if not self.hidden:
            raise UsageError("hidden is empty: give at least one width, as in 100-100")
        for width in self.hidden:
            whole("hidden", width)

    def row(self) -> Row:
        """Return the setting as plain values, one for each column; null: not its own.

        >>> row = Setting().row()
        >>> row["optimizer"], row["lr"], row["rho"], row["hidden"]
        ('sgd', 0.01, None, '100-100-100')
        """
        values = {
            "dataset": self.dataset,
            "tasks": self.tasks,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "hidden": "-".join(map(str, self.hidden)),
        }
        for kind in REGISTRIES:
            if (part := getattr(self, kind)) is not None:
                values |= {kind: part.name, **_hyperparameters(part)}
        return dict.fromkeys(WHAT) | values

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Setting:
        """Return the setting that a row says; what the row leaves out is default.

        >>> Setting.from_row({"optimizer": "sam", "roh": 0.1})
        Traceback (most recent call last):
        trainables.usage.UsageError: unknown hyperparameter 'roh': \
did you mean 'rho'? Known: adam_eps, alpha, base, batch_size, beta1, beta2, dataset, \
epochs, eta, hidden, init_decay, intervention, lr, maturity, momentum, optimizer, \
perturb, problem, redo_every, redo_tau, replacement_rate, rho, shrink, \
spectral_bound, tasks, utility_decay, weight_decay

        Raises:
            UsageError: A key is unknown, is not its part's, or has a wrong value.
        """
        given = {k: v for k, v in row.items() if v is not None}
        for key in given:
            choose("hyperparameter", key, WHAT)
        values: dict[str, Any] = {}
        for kind, registry in REGISTRIES.items():
            name = given.pop(kind, None)
            default = getattr(cls(), kind)
            if name is not None:
                part = registry[choose(kind, name, registry)]
            elif default is not None:
                part = type(default)
            else:
                continue
            own = {f.name for f in dataclasses.fields(part)}
            values[kind] = part(**{k: given.pop(k) for k in list(given) if k in own})
        if "hidden" in given:
            given["hidden"] = parse_hidden(given["hidden"])
        for key in given:
            if key not in {f.name for f in dataclasses.fields(cls)}:
                names = " and ".join(f"{k} {values[k].name}" for k in values)
                raise UsageError(f"{key} does not belong to {names}: leave it out")
        return cls(**values, **given)

    @property
    def setting_id(self) -> str:
        """A hash of the row; nulls do not count, so a new column changes no hash."""
        return digest(self.row())

    def run_id(self, seed: int) -> str:
        """A hash of setting and seed, however the seeds were stacked."""
        return digest(self.row() | {"seed": seed})


def parse_hidden(text: Any) -> tuple[int, ...]:
    """Return widths from text like 100-100-100.

    >>> parse_hidden("20-10")
    (20, 10)

    Raises:
        UsageError: It is not of that form.
    """
    parts = str(text).split("-")
    if not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"hidden is {text!r}: give widths joined by '-', as 100-100")
    return tuple(map(int, parts))


def _hyperparameters(part: Any) -> Row:
    return {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}


def digest(row: Row) -> str:
    """Return the hash of a row: of a setting, or of a setting with its seed."""
    known = {k: v for k, v in row.items() if v is not None}
    text = json.dumps(known, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
