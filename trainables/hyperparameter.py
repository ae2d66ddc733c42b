"""Hyperparameters: a field declares its default, range, unit and meaning in one place.

    @attrs.frozen(kw_only=True)
    class SAM(Optimizer):
        rho: float = real(0.05, meaning="radius of the ascent step")

The row of a setting, its parser, the columns of the records and the documentation of
these columns are all derived from these fields.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Literal, get_args

import attrs
import pyarrow as pa

from trainables.usage import UsageError

Role = Literal["identity", "setting", "position", "measure", "outcome"]
"""The purpose of a column.

    identity    names the study, setting, run and trial of the row
    setting     a part of the setting
    position    the place of the task in the stream
    measure     a measurement
    outcome     what happened during the task, e.g. its number of updates
"""

TEXT, WHOLE, REAL, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
REALS = pa.list_(REAL)


@attrs.frozen
class Column:
    """The description of a column."""

    type: pa.DataType
    nullable: bool
    role: Role
    unit: str  # empty for text and for numbers without a unit
    meaning: str  # one line
    source: str = ""  # the publication that defines the measure

    def to_field(self, name: str) -> pa.Field:
        """Return the Arrow field; its metadata are role, unit, meaning and source."""
        metadata = {key: getattr(self, key) for key in _METADATA}
        return pa.field(name, self.type, nullable=self.nullable, metadata=metadata)

    @classmethod
    def from_field(cls, field: pa.Field) -> Column | None:
        """Return the column that a field's metadata describe, or None if none do."""
        given = field.metadata or {}
        texts = {
            k: given.get(k.encode(), b"").decode(errors="replace") for k in _METADATA
        }
        if texts["role"] not in get_args(Role):
            return None
        return cls(value_type(field), field.nullable, **texts)


_METADATA = ("role", "unit", "meaning", "source")


def value_type(field: pa.Field) -> pa.DataType:
    """Return the type of a field's values: of the decoded ones in a dictionary."""
    is_encoded = pa.types.is_dictionary(field.type)
    return field.type.value_type if is_encoded else field.type


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
    """Return a field for a real number. `check_real` explains the range."""
    exclude = {"exclude_low": exclude_low, "exclude_high": exclude_high}

    def check(value: Any, field: attrs.Attribute[float]) -> float:
        return check_real(field.name, value, low, high, **exclude)

    limits = _describe_range(low, high, **exclude)
    return _field(default, check, REAL, unit, meaning, limits)


def whole(
    default: Any, low: int = 1, high: int | None = None, *, unit: str = "", meaning: str
) -> Any:
    """Return a field for a whole number in [low, high]; None is no upper limit."""

    def check(value: Any, field: attrs.Attribute[int]) -> int:
        return check_whole(field.name, value, low, high)

    limits = _describe_range(low, math.inf if high is None else high)
    return _field(default, check, WHOLE, unit, meaning, limits)


def text(default: Any, convert: Any = None, *, unit: str = "", meaning: str) -> Any:
    """Return a field whose column is text.

    `convert` is called with the value and the field, and returns the checked value.
    """
    return _field(default, convert, TEXT, unit, meaning, "")


def _field(
    default: Any, check: Any, type_: pa.DataType, unit: str, meaning: str, limits: str
) -> Any:
    column = Column(type_, True, "setting", unit, meaning)
    return attrs.field(
        default=default,
        converter=check and attrs.Converter(check, takes_field=True),
        metadata={"column": column, "range": limits},
    )


def hyperparameters(part: type) -> dict[str, Column]:
    """Return the columns of the fields of `part`, an attrs class."""
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
    """Return `value` as a float if it is a finite number in the range.

    The range is [low, high], without `low` if `exclude_low`, and without `high` if
    `exclude_high`.

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
        # + 0.0 turns -0.0 into 0.0: otherwise equal settings would differ in their hash
        return float(value) + 0.0
    limits = _describe_range(low, high, exclude_low, exclude_high)
    raise UsageError(f"{name} is {value!r}: it must be a number {limits}")


def check_whole(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return `value` if it is a whole number in [low, high].

    Raises:
        UsageError: The value is not a whole number or lies outside the range.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value >= low and (high is None or value <= high):
        return int(value)
    most = "" if high is None else f" and at most {high}"
    raise UsageError(
        f"{name} is {value!r}: it must be a whole number, at least {low}{most}"
    )
