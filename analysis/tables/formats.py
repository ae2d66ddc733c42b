"""Formats: a sheet of text set for a terminal, for Markdown or for LaTeX.

To add one: a function and a line in `FORMATS`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 1000
"""Columns of what is not a terminal: a file has no right edge, so no cell is folded."""

PROSE = 100
"""Columns of a sentence."""


class Column(NamedTuple):
    """A column's head, the unit of its numbers, and the side it leans to."""

    name: str
    unit: str = ""
    right: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table as text."""

    title: str
    caption: str
    columns: list[Column]
    rows: list[list[str]]
    notes: list[str]
    """What is wrong with these rows in particular."""


def set_rich(sheets: Sequence[Sheet], explanation: Sequence[str]) -> str:
    """Return sheets for the terminal, or as plain text if it is not one."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else WIDE)
    with console.capture() as capture:
        for sheet in sheets:
            _print_sheet(console, sheet)
        for line in explanation:
            _print_prose(console, line)
    text = capture.get()
    if terminal:
        return text
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _print_sheet(console: Console, sheet: Sheet) -> None:
    """Print one sheet to a rich console."""
    gap = 2 if console.width >= PROSE else 1
    console.print(Text(sheet.title, style="bold"))
    _print_prose(console, sheet.caption)
    console.print()
    head, body = _straight(sheet, gap)
    if len(body[0]) <= console.width:
        console.print(Text("\n".join(head), style="bold"))
        console.print(Text("\n".join(body)))
    else:
        console.print(_folded(sheet, gap))
    console.print()
    for note in sheet.notes:
        console.print(Text(note, style="yellow"))
    if sheet.notes:
        console.print()


def _straight(sheet: Sheet, gap: int) -> tuple[list[str], list[str]]:
    """Return head and body of a table in which no cell needs folding.

    As `_folded` is printed where there is room for it: rich takes a millisecond a row
    to find out.
    """
    names = [column.name if column.unit else "" for column in sheet.columns]
    units = [column.unit or column.name for column in sheet.columns]
    two = any(column.unit for column in sheet.columns)
    heads = [names, units] if two else [units]
    columns = zip(*heads, *sheet.rows, strict=True)
    widths = [max(1, *map(cell_len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        filled = []
        for cell, width, column in zip(cells, widths, sheet.columns, strict=True):
            blank = " " * (width - cell_len(cell))
            filled.append(blank + cell if column.right else cell + blank)
        return (" " * gap).join(filled)

    rule = "─" * (sum(widths) + gap * (len(widths) - 1))
    return [line(head) for head in heads], [rule, *(line(row) for row in sheet.rows)]


def _folded(sheet: Sheet, gap: int) -> Table:
    """Return a table that rich folds where there is no room."""
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0)
    )
    for column in sheet.columns:
        table.add_column(
            # Text, for a bracket in a cell is a bracket and not rich's markup.
            Text(f"{column.name}\n{column.unit}".rstrip()),
            justify="right" if column.right else "left",
            overflow="fold",
        )
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _print_prose(console: Console, text: str) -> None:
    """Print a sentence at a width that can be read."""
    console.print(Text(text, style="dim"), width=min(console.width, PROSE))


def set_markdown(sheets: Sequence[Sheet], explanation: Sequence[str]) -> str:
    """Return sheets as tables of GitHub-flavoured Markdown."""

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
    """Return sheets as LaTeX floats, each with the whole explanation; needs booktabs.

    In `tabular` the widths are LaTeX's; the notes wrap to the width of the page.
    """
    return "\n".join(_float(sheet, explanation) for sheet in sheets)


def _float(sheet: Sheet, explanation: Sequence[str]) -> str:
    """Return one sheet as a LaTeX float."""
    sides = "".join("r" if column.right else "l" for column in sheet.columns)
    heads = [
        _escape(f"{column.name} [{column.unit}]" if column.unit else column.name)
        for column in sheet.columns
    ]
    rows = [" & ".join(map(_latex_cell, row)) + r" \\" for row in sheet.rows]
    notes = "\n".join(_escape(note) for note in (*sheet.notes, *explanation))
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{_escape(sheet.title)}: {_escape(sheet.caption)}.}}",
            rf"\begin{{tabular}}{{{sides}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip",
            r"\footnotesize",
            notes,
            r"\end{table}",
            "",
        ]
    )


def _latex_cell(cell: str) -> str:
    r"""Return a cell for LaTeX, numbers in mathematics so that a minus is one.

    >>> _latex_cell("-0.1 ± n/a"), _latex_cell("100_1")
    ('$-0.1 \\pm {}$n/a', '100\\_1')
    """
    if re.fullmatch(r"-?\d+\.\d+( ± (\d+\.\d+|n/a))?", cell):
        text = cell.replace("±", r"\pm")
        return text.replace("n/a", "{}$n/a").join(("$", "" if "n/a" in cell else "$"))
    return _escape(cell)


def _escape(text: str) -> str:
    r"""Return text in which LaTeX sees no command.

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
