"""Formats of tables: text for a terminal, Markdown, LaTeX and CSV.

To add a format, write a function and add a line to `FORMATS`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from trainables.usage import choose

WIDE = 1000
"""The width of lines in a file, in characters; wide enough that no cell is wrapped."""

MOST_ROWS = 200
"""The maximum number of rows of a sheet in the terminal."""

PROSE = 100
"""The maximum width of a line of sentences, in characters."""

Row = Mapping[Any, Any]
"""A row of a table: its values by column name."""


class Column(NamedTuple):
    """A column's heading, the unit of its numbers, and whether it is right-aligned."""

    name: str
    unit: str = ""
    right: bool = False


Cells = dict[Column, Callable[[Row], str]]
"""The columns of a sheet, each with the function that makes its cell from a row."""


def number(name: str, unit: str = "") -> Column:
    """Return a right-aligned column for numbers."""
    return Column(name, unit, right=True)


@attrs.frozen
class Sheet:
    """A table whose cells are text, with notes below it."""

    title: str
    caption: str
    columns: list[Column]
    rows: list[list[str]]
    notes: list[str] = attrs.field(factory=list)


def make_sheet(
    title: str,
    caption: str,
    cells: Cells,
    rows: Iterable[Row],
    notes: Iterable[str] = (),
) -> Sheet:
    """Return a sheet with one line per row; `cells` turns a row into text."""
    texts = [[cell(row) for cell in cells.values()] for row in rows]
    return Sheet(title, caption, list(cells), texts, list(notes))


@attrs.frozen
class Table:
    """A kind of table: how to make it from the records of a study."""

    columns: tuple[str, ...]  # the columns of the records that it needs
    data: Callable[[pd.DataFrame, str], pd.DataFrame]  # returns the numbers for csv
    sheets: Callable[[pd.DataFrame], list[Sheet]]  # returns the numbers as text
    explanation: tuple[str, ...]  # sentences that explain the text


def print_sheets(
    data: pd.DataFrame, sheets: Sequence[Sheet], explanation: Sequence[str], format: str
) -> None:
    """Print a table as text. For csv, print the data, and notes to standard error.

    Args:
        data: The numbers in full precision; only csv prints them.
        sheets: The same numbers as text, for the other formats. csv prints their notes.
        explanation: Sentences that explain the sheets.
        format: One of `FORMATS`, or csv.

    Raises:
        UsageError: The format is unknown.
    """
    if choose("format", format, [*FORMATS, "csv"]) != "csv":
        sys.stdout.write(FORMATS[format](sheets, explanation))
        return
    sys.stdout.write(data.to_csv(index=False, lineterminator="\n"))
    for sheet in sheets:
        for note in sheet.notes:
            print(f"note: {sheet.title}: {note}", file=sys.stderr)


def set_rich(sheets: Sequence[Sheet], explanation: Sequence[str]) -> str:
    """Return sheets as text: with styles if the output is a terminal, else plain."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else WIDE)
    with console.capture() as capture:
        for sheet in sheets:
            console.print(Text(sheet.title, style="bold"))
            _print_prose(console, sheet.caption)
            console.print()
            console.print(_rich_table(sheet, 2 if console.width >= PROSE else 1))
            console.print()
            notes = list(sheet.notes)
            if (more := len(sheet.rows) - MOST_ROWS) > 0:
                notes.append(f"{more:,} more rows: --format csv prints them.")
            for note in notes:
                console.print(Text(note, style="yellow"))
            if notes:
                console.print()
        for line in explanation:
            _print_prose(console, line)
    text = capture.get()
    if terminal:
        return text
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _rich_table(sheet: Sheet, gap: int) -> RichTable:
    table = RichTable(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0)
    )
    for column in sheet.columns:
        table.add_column(
            # rich would read brackets in a plain string as markup
            Text(f"{column.name}\n{column.unit}".rstrip()),
            justify="right" if column.right else "left",
            overflow="fold",
        )
    for row in sheet.rows[:MOST_ROWS]:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _print_prose(console: Console, text: str) -> None:
    console.print(Text(text, style="dim"), width=min(console.width, PROSE))


def set_markdown(sheets: Sequence[Sheet], explanation: Sequence[str]) -> str:
    """Return sheets as tables in GitHub-flavored Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    parts = []
    for sheet in sheets:
        heads = [f"{c.name} ({c.unit})" if c.unit else c.name for c in sheet.columns]
        sides = ["---:" if column.right else ":---" for column in sheet.columns]
        table = [line(heads), line(sides), *(line(row) for row in sheet.rows)]
        parts += [f"### {sheet.title}", sheet.caption, "\n".join(table), *sheet.notes]
    return "\n\n".join([*parts, *explanation]) + "\n"


def set_latex(sheets: Sequence[Sheet], explanation: Sequence[str]) -> str:
    """Return sheets as LaTeX tables, which need the LaTeX package booktabs."""
    return "\n".join(_float(sheet, explanation) for sheet in sheets)


def _float(sheet: Sheet, explanation: Sequence[str]) -> str:
    sides = "".join("r" if column.right else "l" for column in sheet.columns)
    heads = [
        _escape(f"{c.name} [{c.unit}]" if c.unit else c.name) for c in sheet.columns
    ]
    lines = [" & ".join(map(_latex_cell, row)) + " \\\\\n" for row in sheet.rows]
    notes = "\n".join(_escape(note) for note in (*sheet.notes, *explanation))
    return rf"""% needs \usepackage{{booktabs}}
\begin{{table}}[htbp]
\centering
\caption{{{_escape(sheet.title)}: {_escape(sheet.caption)}.}}
\begin{{tabular}}{{{sides}}}
\toprule
{" & ".join(heads)} \\
\midrule
{"".join(lines)}\bottomrule
\end{{tabular}}

\smallskip
\footnotesize
{notes}
\end{{table}}
"""


def _latex_cell(cell: str) -> str:
    r"""Return the LaTeX code of a table cell, with numbers in math mode.

    >>> _latex_cell("-0.1 ± n/a"), _latex_cell("100_1")
    ('$-0.1 \\pm {}$n/a', '100\\_1')
    """
    if re.fullmatch(r"-?\d+\.\d+( ± (\d+\.\d+|n/a))?", cell):
        text = cell.replace("±", r"\pm")
        return text.replace("n/a", "{}$n/a").join(("$", "" if "n/a" in cell else "$"))
    return _escape(cell)


def _escape(text: str) -> str:
    r"""Return text with the special characters of LaTeX escaped.

    >>> _escape("50% of a_b ± 1 ~ {x}")
    '50\\% of a\\_b $\\pm$ 1 \\textasciitilde{} \\{x\\}'
    """
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        **{sign: "\\" + sign for sign in "&%$#_{}"},
    }
    return "".join(special.get(sign, sign) for sign in text)


FORMATS: dict[str, Callable[[Sequence[Sheet], Sequence[str]], str]] = {
    "rich": set_rich,
    "markdown": set_markdown,
    "latex": set_latex,
}
