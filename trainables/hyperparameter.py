"""Declare hyperparameters: each field has a default, a range, a unit and a meaning.

    @attrs.frozen(kw_only=True)
    class SAM(Optimizer):
        rho: float = real(0.05, meaning="radius of the ascent step")

These fields are the only place where a hyperparameter is declared. The columns of the
records, the parser of settings and the tables in docs/records.md are derived from them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any, Literal, get_args

import attrs
import pyarrow as pa

from trainables.usage import UsageError, choose, printable

Role = Literal["identity", "setting", "position", "measure", "outcome"]
"""The purpose of a column.

    identity    identifies the study, setting, run and trial of the row
    setting     a value of the setting, e.g. the learning rate
    position    the position of the task in the stream of tasks
    measure     a measurement, e.g. the test accuracy
    outcome     what happened during the task, e.g. the number of updates
"""

TEXT, WHOLE, REAL, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
REALS = pa.list_(REAL)


@attrs.frozen
class Column:
    """The description of a column of the records."""

    type: pa.DataType
    nullable: bool
    role: Role
    unit: str  # empty for text and for numbers without a unit
    meaning: str  # one line
    source: str = ""  # the publication that defines the measure, if any

    def to_field(self, name: str) -> pa.Field:
        """Return the Arrow field `name`, with role, unit, etc. as its metadata."""
        metadata = {key: getattr(self, key) for key in _METADATA}
        return pa.field(name, self.type, nullable=self.nullable, metadata=metadata)

    @classmethod
    def from_field(cls, field: pa.Field) -> Column | None:
        """Return the column that the metadata of an Arrow field describe.

        Return None if the metadata do not contain a valid role.
        """
        metadata = field.metadata or {}
        texts: dict[str, Any] = {
            k: printable(metadata.get(k.encode(), b"").decode(errors="replace"))
            for k in _METADATA
        }
        if texts["role"] not in get_args(Role):
            return None
        return cls(value_type(field), field.nullable, **texts)


_METADATA = ("role", "unit", "meaning", "source")


def value_type(field: pa.Field) -> pa.DataType:
    """Return the type of the values in an Arrow field, dictionary-encoded or not."""
    is_encoded = pa.types.is_dictionary(field.type)
    return field.type.value_type if is_encoded else field.type


def real(
    default: float | None,
    low: float = 0.0,
    high: float = math.inf,
    *,
    exclude_low: bool = False,
    exclude_high: bool = False,
    unit: str = "",
    meaning: str,
) -> Any:
    """Return an attrs field for a real number in a range (see `check_real`).

    If the default is None, the field may be None.
    """
    exclude = {"exclude_low": exclude_low, "exclude_high": exclude_high}

    def check(value: Any, field: attrs.Attribute[float]) -> float:
        return check_real(field.name, value, low, high, **exclude)

    limits = _describe_range(low, high, **exclude)
    return _field(default, check, REAL, unit, meaning, limits)


def whole(
    default: Any, low: int = 1, high: int | None = None, *, unit: str = "", meaning: str
) -> Any:
    """Return an attrs field for a whole number in a range (see `check_whole`).

    If the default is None, the field may be None.
    """

    def check(value: Any, field: attrs.Attribute[int]) -> int:
        return check_whole(field.name, value, low, high)

    limits = _describe_range(low, math.inf if high is None else high)
    return _field(default, check, WHOLE, unit, meaning, limits)


def text(default: Any, convert: Any = None, *, unit: str = "", meaning: str) -> Any:
    """Return an attrs field whose column in the records is text.

    If `convert` is given, `convert(value, field)` checks a new value of the field and
    returns the value to store.
    """
    return _field(default, convert, TEXT, unit, meaning, "")


def choice(default: Any, names: Iterable[str], *, meaning: str) -> Any:
    """Return an attrs field for text that must be one of `names`."""
    return text(
        default, lambda value, field: choose(field.name, value, names), meaning=meaning
    )


def _field(
    default: Any, check: Any, type_: pa.DataType, unit: str, meaning: str, limits: str
) -> Any:
    """Return an attrs field whose metadata contain its column and its range.

    `check(value, field)` checks a value and returns the value to store, as in `text`.
    """
    column = Column(type_, True, "setting", unit, meaning)

    def convert(value: Any, field: attrs.Attribute[Any]) -> Any:
        return None if value is None and default is None else check(value, field)

    return attrs.field(
        default=default,
        converter=check and attrs.Converter(convert, takes_field=True),
        metadata={"column": column, "range": limits},
    )


def hyperparameters(part: type) -> dict[str, Column]:
    """Return the column of each field of the attrs class `part`, by field name."""
    return {f.name: f.metadata["column"] for f in attrs.fields(part)}


def _describe_range(
    low: float, high: float, exclude_low: bool = False, exclude_high: bool = False
) -> str:
    """Return a range in words, for messages and documentation.

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
    """Return `value` as a float if it is a finite number from `low` to `high`.

    Both limits are in the range, unless `exclude_low` or `exclude_high` is true.

    Raises:
        UsageError: `value` is not a finite number, or it is outside the range.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
        and (value > low if exclude_low else value >= low)
        and (value < high if exclude_high else value <= high)
    ):
        # + 0.0 turns -0.0 into 0.0, so that equal settings have the same hash
        return float(value) + 0.0
    limits = _describe_range(low, high, exclude_low, exclude_high)
    raise UsageError(f"{name} is {value!r}: it must be a number {limits}")


def check_whole(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return `value` if it is a whole number from `low` to `high` (None: no limit).

    Raises:
        UsageError: `value` is not a whole number, or it is outside the range.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value >= low and (high is None or value <= high):
        return int(value)
    most = "" if high is None else f" and at most {high}"
    raise UsageError(
        f"{name} is {value!r}: it must be a whole number, at least {low}{most}"
    )


def parse_widths(name: str, value: Any) -> tuple[int, ...]:
    """Return the widths of layers as a tuple of numbers.

    `value` is a list of widths, or a text of widths that are joined by '-'.

    >>> parse_widths("hidden", "20-10")
    (20, 10)

    Raises:
        UsageError: No width is given, or a width is not a whole number above 0. The
            message names the hyperparameter `name`.
    """
    if isinstance(value, tuple | list):
        widths = tuple(check_whole(name, width) for width in value)
        if not widths:
            raise UsageError(f"{name} is empty: give at least one width, e.g. 100-100")
        return widths
    parts = str(value).split("-")
    if not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(
            f"{name} is {value!r}: give widths joined by '-', e.g. 100-100"
        )
    return tuple(map(int, parts))
