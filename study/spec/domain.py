"""Domains: the values that a field of a setting may take in a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np

from trainables.hyperparameter import check_real, check_whole
from trainables.usage import UsageError

if TYPE_CHECKING:
    from optuna.trial import Trial

D = TypeVar("D", bound="Domain")


@attrs.frozen
class Domain:
    """Values of a field, which may depend on other fields. `str` identifies it.

    Attributes:
        conditions: Values by other field: the field exists only where each of those
            fields has one of its values. Empty: always.
    """

    conditions: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict, kw_only=True)

    def when(self: D, **fields: Any) -> D:
        """Return the domain of a field that exists only under conditions.

        >>> log(0.01, 1).when(optimizer=("sam", "gnp")).conditions
        {'optimizer': ('sam', 'gnp')}
        """
        conditions = {
            name: tuple(values) if isinstance(values, tuple | list) else (values,)
            for name, values in fields.items()
        }
        return attrs.evolve(self, conditions={**self.conditions, **conditions})

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values that a check has to try."""
        raise NotImplementedError

    def check(self, field: str) -> None:
        """Check the domain of a field: raise a UsageError that names the field."""
        raise NotImplementedError

    def draw(self, random: np.random.Generator) -> Any:
        """Return a value, drawn uniformly."""
        raise NotImplementedError

    def suggest(self, trial: Trial, field: str) -> Any:
        """Return the value that a trial suggests for a field."""
        raise NotImplementedError

    def _with_conditions(self, text: str) -> str:
        if not self.conditions:
            return text
        parts = [f"{name} in {list(v)}" for name, v in self.conditions.items()]
        return f"{text} when {' and '.join(parts)}"


@attrs.frozen
class Choice(Domain):
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """All values."""
        return self.values

    def check(self, field: str) -> None:
        """Check that there are different values, all texts or numbers."""
        if not self.values:
            raise UsageError(f"choice of {field} is empty: give at least one value")
        for value in self.values:
            if not isinstance(value, str | int | float | bool):
                raise UsageError(
                    f"choice of {field} has {value!r}: give only texts and numbers"
                )
        if len(set(self.values)) < len(self.values):
            raise UsageError(f"choice of {field} repeats a value: {self.values!r}")

    def draw(self, random: np.random.Generator) -> Any:
        """Return one of the values."""
        return self.values[int(random.integers(len(self.values)))]

    def suggest(self, trial: Trial, field: str) -> Any:
        """Return the value that a trial suggests."""
        return trial.suggest_categorical(field, self.values)

    def __str__(self) -> str:
        return self._with_conditions("one of " + ", ".join(map(str, self.values)))


@attrs.frozen
class Range(Domain):
    """A number in [low, high].

    Attributes:
        low: The least.
        high: The greatest.
        log: Whether the logarithm is uniform, not the number.
        whole: Whether it is an integer.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Both bounds."""
        return (self.low, self.high)

    def check(self, field: str) -> None:
        """Check the bounds."""
        low, high = f"low of {field}", f"high of {field}"
        if self.whole:
            check_whole(low, self.low, 1 if self.log else 0)
            check_whole(high, self.high, int(self.low))
        else:
            check_real(
                low, self.low, 0 if self.log else -math.inf, exclude_low=self.log
            )
            check_real(high, self.high, self.low)

    def draw(self, random: np.random.Generator) -> Any:
        """Return a number."""
        # all integers are equally likely once the number is rounded down
        low, high = self.low, self.high + (1 if self.whole else 0)
        if self.log:
            value = math.exp(random.uniform(math.log(low), math.log(high)))
        else:
            value = float(random.uniform(low, high))
        value = min(max(value, self.low), self.high)
        return math.floor(value) if self.whole else value

    def suggest(self, trial: Trial, field: str) -> Any:
        """Return the number that a trial suggests."""
        if self.whole:
            low, high = int(self.low), int(self.high)
            return trial.suggest_int(field, low, high, log=self.log)
        return trial.suggest_float(field, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        kind = ("whole " if self.whole else "") + ("log " if self.log else "")
        return self._with_conditions(f"{kind}{self.low:g} to {self.high:g}")


def choice(*values: Any) -> Choice:
    """Return the domain of some values.

    >>> str(choice("sgd", "sam"))
    'one of sgd, sam'
    """
    return Choice(values)


def uniform(low: float, high: float) -> Range:
    """Return the domain of the real numbers in [low, high]."""
    return Range(low, high)


def log(low: float, high: float) -> Range:
    """Return the domain of the real numbers in [low, high] with a uniform logarithm.

    >>> str(log(0.001, 2).when(optimizer="sam"))
    "log 0.001 to 2 when optimizer in ['sam']"
    """
    return Range(low, high, log=True)


def integer(low: int, high: int) -> Range:
    """Return the domain of the integers in [low, high].

    >>> str(integer(1, 5))
    'whole 1 to 5'
    """
    return Range(low, high, whole=True)
