"""Domains: the values that a field of a setting may take in a search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from trainables.checks import real, whole
from trainables.usage import UsageError

D = TypeVar("D", bound="Domain")


class Suggester(Protocol):
    """What proposes values: a trial of Optuna's."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of the choices."""

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False
    ) -> float:
        """Return a real between two."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number between two."""


@dataclass(frozen=True)
class Domain:
    """Some values, there only where other fields have certain values.

    Attributes:
        given: For each other field on which this one depends, the values under which
            it is there; nothing: always.
    """

    given: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, kw_only=True)

    def when(self: D, **fields: Any) -> D:
        """Return the domain, there only where each field has one of these values.

        >>> log(0.01, 1).when(optimizer=("sam", "gnp")).given
        {'optimizer': ('sam', 'gnp')}
        """
        given = {
            name: tuple(values) if isinstance(values, tuple | list) else (values,)
            for name, values in fields.items()
        }
        return dataclasses.replace(self, given={**self.given, **given})

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that stand for all, for a check."""
        raise NotImplementedError

    def draw(self, random: np.random.Generator) -> Any:
        """Return a value, drawn evenly."""
        raise NotImplementedError

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Return the value that a trial proposes."""
        raise NotImplementedError

    def _within(self, text: str) -> str:
        """Return the description with the conditions, which identifies the domain."""
        conditions = [f"{n} in {list(values)}" for n, values in self.given.items()]
        return " when ".join([text, " and ".join(conditions)][: 1 + bool(conditions)])


@dataclass(frozen=True)
class Choice(Domain):
    """One of some values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.values:
            raise UsageError("choice of nothing: give it at least one value")
        for value in self.values:
            if not isinstance(value, str | int | float | bool):
                raise UsageError(f"choice of {value!r}: give it texts and numbers")
        if len(set(self.values)) < len(self.values):
            raise UsageError(f"choice of {self.values!r}: a value is there twice")

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return self.values

    def draw(self, random: np.random.Generator) -> Any:
        """Return one of the values."""
        return self.values[int(random.integers(len(self.values)))]

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Return the value that a trial proposes."""
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return self._within("one of " + ", ".join(map(str, self.values)))


@dataclass(frozen=True)
class Range(Domain):
    """A number from `low` to `high`, both included.

    Attributes:
        low: The least.
        high: The greatest.
        log: Whether its logarithm is what is drawn evenly.
        whole: Whether it is a whole number.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.whole:
            whole("the least", self.low, 1 if self.log else 0)
            whole("the greatest", self.high, int(self.low))
        else:
            real("the least", self.low, 0 if self.log else -math.inf, above=self.log)
            real("the greatest", self.high, self.low)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Both bounds."""
        return (self.low, self.high)

    def draw(self, random: np.random.Generator) -> Any:
        """Return a number."""
        low, high = self.low, self.high + self.whole
        if self.log:
            value = math.exp(random.uniform(math.log(low), math.log(high)))
        else:
            value = float(random.uniform(low, high))
        value = min(max(value, self.low), self.high)
        return math.floor(value) if self.whole else value

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Return the number that a trial proposes."""
        if self.whole:
            low, high = int(self.low), int(self.high)
            return trial.suggest_int(name, low, high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        kind = "whole " * self.whole + "log " * self.log
        return self._within(f"{kind}{self.low:g} to {self.high:g}")


def choice(*values: Any) -> Choice:
    """Return the domain of one of these values.

    >>> str(choice("sgd", "sam"))
    'one of sgd, sam'
    """
    return Choice(values)


def uniform(low: float, high: float) -> Range:
    """Return the domain of the reals between two."""
    return Range(low, high)


def log(low: float, high: float) -> Range:
    """Return the domain of the reals between two, whose logarithm is drawn evenly.

    >>> str(log(0.001, 2).when(optimizer="sam"))
    "log 0.001 to 2 when optimizer in ['sam']"
    """
    return Range(low, high, log=True)


def integer(low: int, high: int) -> Range:
    """Return the domain of the whole numbers from one to another."""
    return Range(low, high, whole=True)
