"""Generate the tables of columns and hyperparameters in docs/records.md.

`python -m trainables.columns` prints the tables. `python -m trainables.columns
docs/records.md` replaces the tables in that file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import attrs

from trainables.record import Column, all_columns
from trainables.setting import REGISTRIES

START, END = "<!-- columns -->\n", "<!-- /columns -->\n"


def tables() -> str:
    """Return the table of columns and the table of hyperparameters as Markdown."""
    columns = (
        (f"`{name}`", c.role, _type(c), c.unit, c.meaning, c.source)
        for name, c in all_columns().items()
    )
    hyperparameters = (
        (f"{kind} `{name}`", f"`{f.name}`", f.default, f.metadata["range"], c.meaning)
        for kind, registry in REGISTRIES.items()
        for name, part in registry.items()
        for f in attrs.fields(part)
        for c in [f.metadata["column"]]
    )
    return (
        _table("column role type unit meaning source", columns)
        + "\nHyperparameters, with their defaults:\n\n"
        + _table("part hyperparameter default range meaning", hyperparameters)
    )


def _type(column: Column) -> str:
    return f"{column.type}, or null" if column.nullable else str(column.type)


def _table(header: str, rows: Iterable[Iterable[object]]) -> str:
    names = header.split()
    body = [[str(cell).replace("|", r"\|") for cell in row] for row in rows]
    lines = [names, ["---"] * len(names), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_tables(text: str) -> str:
    """Return the document `text` with new tables between `START` and `END`."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    if sys.argv[1:]:
        document = Path(sys.argv[1])
        document.write_text(with_tables(document.read_text()))
    else:
        print(tables())
