"""Hyperparameters: a field declares default, range, unit and meaning once.

    @attrs.frozen(kw_only=True)
    class SAM(Optimizer):
        rho: float = real(0.05, meaning="radius of the ascent step")

The setting's row and parser, the columns of the records and their documentation are
derived from these fields.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import attrs

from trainables.column import REAL, TEXT, WHOLE, Column
from trainables.usage import UsageError


def real(
    default: float,
    low: float = 0.0,
    high: float = math.inf,
    *,
    exclude_low: bool = False,
    exclude_high: bool = False,
    unit: str = "",
    meaning: str,
) -> Any:
    """Return a field for a real number; see `check_real` for the range."""

    def check(value: Any, field: attrs.Attribute[float]) -> float:
        return check_real(
            field.name,
            value,
            low,
            high,
            exclude_low=exclude_low,
            exclude_high=exclude_high,
        )

    limits = _describe_range(low, high, exclude_low, exclude_high)
    return _field(default, check, Column(REAL, True, "setting", unit, meaning), limits)


def whole(
    default: Any, low: int = 1, high: int | None = None, *, unit: str = "", meaning: str
) -> Any:
    """Return a field for a whole number in [low, high]."""

    def check(value: Any, field: attrs.Attribute[int]) -> int:
        return check_whole(field.name, value, low, high)

    limits = _describe_range(low, math.inf if high is None else high)
    return _field(default, check, Column(WHOLE, True, "setting", unit, meaning), limits)


def text(default: Any, convert: Any, *, unit: str = "", meaning: str) -> Any:
    """Return a field whose column is text.

    Args:
        default: The default.
        convert: Called with the value and the field; returns the checked value.
        unit: See `Column`.
        meaning: See `Column`.
    """
    return _field(default, convert, Column(TEXT, True, "setting", unit, meaning), "")


def _field(default: Any, check: Any, column: Column, limits: str) -> Any:
    return attrs.field(
        default=default,
        converter=attrs.Converter(check, takes_field=True),
        metadata={"column": column, "range": limits},
    )


def hyperparameters(part: type) -> dict[str, Column]:
    """Return the columns of a part's fields."""
    return {f.name: f.metadata["column"] for f in attrs.fields(part)}


def _describe_range(
    low: float, high: float, exclude_low: bool = False, exclude_high: bool = False
) -> str:
    """Return a range in words.

    >>> _describe_range(0, 1, exclude_high=True)
    'at least 0 and below 1'
    """
    least = f"{'above' if exclude_low else 'at least'} {low:g}"
    most = f" and {'below' if exclude_high else 'at most'} {high:g}"
    return least + (most if math.isfinite(high) else "")


def check_real(
    name: str,
    value: Any,
    low: float = 0.0,
    high: float = math.inf,
    *,
    exclude_low: bool = False,
    exclude_high: bool = False,
) -> float:
    """Return a finite number in [low, high] as float.

    Raises:
        UsageError: The value is not a number or lies outside the range.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
        and (value > low if exclude_low else value >= low)
        and (value < high if exclude_high else value <= high)
    ):
        return float(value) + 0.0  # turns -0.0 into 0.0: they have different hashes
    limits = _describe_range(low, high, exclude_low, exclude_high)
    raise UsageError(f"{name} is {value!r}: it must be a number {limits}")


def check_whole(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return a whole number in [low, high].

    Raises:
        UsageError: The value is not a whole number or lies outside the range.
    """
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= low
        and (high is None or value <= high)
    ):
        return int(value)
    most = "" if high is None else f" and at most {high}"
    raise UsageError(
        f"{name} is {value!r}: it must be a whole number, at least {low}{most}"
    )
