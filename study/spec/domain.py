"""Domains: the possible values of one field of a setting, such as the step size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from trainables.hyperparameter import check_real, check_whole
from trainables.usage import UsageError

if TYPE_CHECKING:
    from optuna.trial import Trial


@attrs.frozen
class Domain:
    """The possible values of one field of a setting, with optional conditions.

    Saved results identify a domain by its text from `str`.

    Attributes:
        kind: "choice" is a list of values. The other kinds are ranges. "uniform" has
            real numbers, "log" has real numbers on a log scale, and "whole" has whole
            numbers.
        extremes: All values of a choice, or the smallest and the largest value of a
            range.
        conditions: Maps the name of another field to its allowed values. If a condition
            is not met, a setting does not have the field of this domain.
    """

    kind: Literal["choice", "uniform", "log", "whole"]
    extremes: tuple[Any, ...]
    conditions: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)

    def when(self, **fields: Any) -> Domain:
        """Return a copy of the domain, for a field that only some settings have.

        Each argument is the name of another field, with the value or the values that
        this other field must have.

        >>> log(0.01, 1).when(optimizer=("sam", "gnp")).conditions
        {'optimizer': ('sam', 'gnp')}
        """
        conditions = {
            name: tuple(values) if isinstance(values, tuple | list) else (values,)
            for name, values in fields.items()
        }
        return attrs.evolve(self, conditions={**self.conditions, **conditions})

    def check(self, field: str) -> None:
        """Check that the domain is valid for the field that is named `field`.

        Raises:
            UsageError: A value is wrong. The message names the field.
        """
        if self.kind == "choice":
            _check_choice(field, self.extremes)
            return
        low, high = self.extremes
        if self.kind == "whole":
            check_whole(f"low of {field}", low, 0)
            check_whole(f"high of {field}", high, low)
        else:
            is_log = self.kind == "log"
            least = 0.0 if is_log else -math.inf
            check_real(f"low of {field}", low, least, exclude_low=is_log)
            check_real(f"high of {field}", high, low)

    def draw(self, random: np.random.Generator) -> Any:
        """Return a random value. For the kind "log", its logarithm is uniform."""
        if self.kind == "choice":
            return self.extremes[int(random.integers(len(self.extremes)))]
        low, high = self.extremes
        if self.kind == "whole":
            # rounding down makes all whole numbers equally likely
            return min(math.floor(random.uniform(low, high + 1)), high)
        if self.kind == "log":
            value = math.exp(random.uniform(math.log(low), math.log(high)))
        else:
            value = float(random.uniform(low, high))
        return min(max(value, low), high)

    def suggest(self, trial: Trial, field: str) -> Any:
        """Return the value that Optuna suggests for the field in one of its trials."""
        if self.kind == "choice":
            return trial.suggest_categorical(field, self.extremes)
        low, high = self.extremes
        if self.kind == "whole":
            return trial.suggest_int(field, low, high)
        return trial.suggest_float(field, low, high, log=self.kind == "log")

    def __str__(self) -> str:
        if self.kind == "choice":
            text = "one of " + ", ".join(map(str, self.extremes))
        else:
            low, high = self.extremes
            kind = "" if self.kind == "uniform" else f"{self.kind} "
            text = f"{kind}{low:g} to {high:g}"
        parts = [f"{name} in {list(v)}" for name, v in self.conditions.items()]
        return f"{text} when {' and '.join(parts)}" if parts else text


def _check_choice(field: str, values: tuple[Any, ...]) -> None:
    if not values:
        raise UsageError(f"choice of {field} is empty: give at least one value")
    for value in values:
        if not isinstance(value, str | int | float):
            raise UsageError(
                f"choice of {field} has {value!r}: give only strings and numbers"
            )
    if len(set(values)) < len(values):
        raise UsageError(
            f"choice of {field} repeats a value in {values!r}: give each value once"
        )


def choice(*values: Any) -> Domain:
    """Return a domain that has only these values.

    >>> str(choice("sgd", "sam"))
    'one of sgd, sam'
    """
    return Domain("choice", values)


def uniform(low: float, high: float) -> Domain:
    """Return a domain of real numbers from `low` to `high`, all equally likely."""
    return Domain("uniform", (low, high))


def log(low: float, high: float) -> Domain:
    """Return a domain of positive real numbers from `low` to `high`, on a log scale.

    >>> str(log(0.001, 2).when(optimizer="sam"))
    "log 0.001 to 2 when optimizer in ['sam']"
    """
    return Domain("log", (low, high))


def integer(low: int, high: int) -> Domain:
    """Return a domain of whole numbers from `low` to `high`, with both ends included.

    >>> str(integer(1, 5))
    'whole 1 to 5'
    """
    return Domain("whole", (low, high))
