"""A column of the records: its type, and what a reader of a file must know of it."""

from __future__ import annotations

from typing import Literal, get_args

import attrs
import pyarrow as pa

Role = Literal["identity", "setting", "position", "measure", "outcome"]
"""Whose row it is; what fixes the run; where in the stream; what was measured; how the
run went."""

TEXT, WHOLE, REAL, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
REALS = pa.list_(REAL)


@attrs.frozen
class Column:
    """What the records say about a column.

    Attributes:
        type: The Arrow type.
        nullable: Whether a row may have no value.
        role: See `Role`.
        unit: Empty for text and for numbers without a unit.
        meaning: One line.
        source: Who defined the measure; may be empty.
    """

    type: pa.DataType
    nullable: bool
    role: Role
    unit: str
    meaning: str
    source: str = ""

    def to_field(self, name: str) -> pa.Field:
        """Return the Arrow field; its metadata are role, unit, meaning and source."""
        metadata = {key: getattr(self, key) for key in _METADATA}
        return pa.field(name, self.type, nullable=self.nullable, metadata=metadata)

    @classmethod
    def from_field(cls, field: pa.Field) -> Column | None:
        """Return the column that a field's metadata describe; None: they do not."""
        metadata = field.metadata or {}
        texts = {
            key: metadata.get(key.encode(), b"").decode(errors="replace")
            for key in _METADATA
        }
        if texts["role"] not in get_args(Role):
            return None
        return cls(value_type(field), field.nullable, **texts)


_METADATA = ("role", "unit", "meaning", "source")


def value_type(field: pa.Field) -> pa.DataType:
    """Return the type of a field's values, however they are encoded."""
    if pa.types.is_dictionary(field.type):
        return field.type.value_type
    return field.type
