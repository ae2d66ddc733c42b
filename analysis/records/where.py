"""Where: a filter of records in a small language, as in SQL.

    optimizer = 'sam' and lr = 0.01
    rho in (0.05, 0.1) or rho is null
    not (problem = 'pairwise') and seed < 3

It knows the columns of the schema, numbers, text in quotes, true and false; and, or,
not and parentheses; = (==), != (<>), <, <=, >, >=, in, not in, is null, is not null.
Nothing is evaluated but this. As in SQL, null is neither equal to anything nor unequal.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from trainables.record import COLUMNS
from trainables.usage import UsageError, choose

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda column, value: column == value,
    "==": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<>": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}

WORDS = ("and", "or", "not", "in", "is", "null", "true", "false")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^']|'')*'|"[^"]*")
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>==|!=|<>|<=|>=|[=<>(),])
    )""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of the text: text, number, word or sign; "end" after the last."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Where:
    """A filter: its text, the columns it reads, and what keeps a row."""

    text: str
    columns: tuple[str, ...]
    keeps: pc.Expression


def parse(text: str) -> Where:
    """Return the filter that a text says.

    >>> parse("optimizer = 'sam' and not lr < 0.01").columns
    ('optimizer', 'lr')
    >>> parse("optimiser = 'sam'")
    Traceback (most recent call last):
    trainables.usage.UsageError: --where "optimiser = 'sam'": \
unknown column 'optimiser': did you mean 'optimizer'?

    Raises:
        UsageError: It says nothing, or names what is not there.
    """
    reader = _Reader(text)
    keeps = reader.either()
    if reader.token.kind != "end":
        raise reader.wrong("and, or, or the end")
    return Where(text, tuple(dict.fromkeys(reader.columns)), keeps)


class _Reader:
    """Reads a filter from left to right, looking one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[str] = []
        self.token = Token("end", "", 0)
        self.end = 0
        self.step()

    def step(self) -> Token:
        """Return the token under the eye, and look at the next."""
        passed = self.token
        rest = self.text[self.end :]
        if not rest.strip():
            self.token = Token("end", "", len(self.text))
            return passed
        if not (found := _TOKEN.match(rest)):
            raise self.mistake(f"cannot be read from {rest.strip()!r} on")
        kind = str(found.lastgroup)
        self.token = Token(kind, found[kind], self.end)
        self.end += found.end()
        return passed

    def took(self, *wanted: str) -> str | None:
        """Step over the token if it is one of these signs or words."""
        token = self.token
        word = token.text.lower() if token.kind == "word" else token.text
        if token.kind in ("word", "sign") and word in wanted:
            self.step()
            return word
        return None

    def mistake(self, what: str) -> UsageError:
        return UsageError(f'--where "{self.text}": {what}')

    def wrong(self, wanted: str) -> UsageError:
        found = self.token.text or "its end"
        return self.mistake(f"has {found} where {wanted} should be")

    def either(self) -> pc.Expression:
        keeps = self.both()
        while self.took("or"):
            keeps = keeps | self.both()
        return keeps

    def both(self) -> pc.Expression:
        keeps = self.one()
        while self.took("and"):
            keeps = keeps & self.one()
        return keeps

    def one(self) -> pc.Expression:
        if self.took("not"):
            return ~self.one()
        if self.took("("):
            keeps = self.either()
            if not self.took(")"):
                raise self.wrong("a closing parenthesis")
            return keeps
        return self.comparison()

    def comparison(self) -> pc.Expression:
        name = self.column()
        column = pc.field(name)
        if self.took("is"):
            negated = self.took("not")
            if not self.took("null"):
                raise self.wrong("null")
            return column.is_valid() if negated else column.is_null()
        negated = self.took("not")
        if self.took("in"):
            # not `isin`, which says of null that it is not in, where SQL says null
            equal = [column == value for value in self.values(name)]
            keeps = functools.reduce(operator.or_, equal)
            return ~keeps if negated else keeps
        if negated or not (sign := self.took(*COMPARE)):
            raise self.wrong("=, !=, <, <=, >, >=, in or is")
        return COMPARE[sign](column, self.value(name))

    def column(self) -> str:
        if self.token.kind != "word" or self.token.text.lower() in WORDS:
            raise self.wrong("a column")
        try:
            name = choose("column", self.token.text, COLUMNS)
        except UsageError as error:
            raise self.mistake(str(error).partition(" Known: ")[0]) from None
        if pa.types.is_list(COLUMNS[name].type):
            raise self.mistake(f"{name} is a list, which cannot be compared")
        self.step()
        self.columns.append(name)
        return name

    def values(self, name: str) -> list[pa.Scalar]:
        if not self.took("("):
            raise self.wrong("(")
        found = [self.value(name)]
        while self.took(","):
            found.append(self.value(name))
        if not self.took(")"):
            raise self.wrong("a closing parenthesis")
        return found

    def value(self, name: str) -> pa.Scalar:
        """Return the value under the eye, as one of the column's type."""
        token, type_ = self.token, COLUMNS[name].type
        if pa.types.is_string(type_):
            if token.kind != "text":
                near = f"'{token.text}'" if token.kind == "word" else "'...'"
                raise self.wrong(f"text in quotes, as {near},")
            found: Any = token.text[1:-1]
            found = found.replace("''", "'") if token.text[0] == "'" else found
        elif pa.types.is_boolean(type_):
            if token.text.lower() not in ("true", "false"):
                raise self.wrong("true or false")
            found = token.text.lower() == "true"
        else:
            if token.kind != "number":
                raise self.wrong(f"a number ({name} is one)")
            found = float(token.text)
            if pa.types.is_integer(type_):
                if found % 1 or abs(found) >= 2**63:
                    raise self.wrong(f"a whole number ({name} is one)")
                found = int(found)
        self.step()
        return pa.scalar(found, type_)
