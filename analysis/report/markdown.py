"""A report as a folder of Markdown and PNG, for a repository or a pull request."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.figures.style import STYLE, render, write_whole
from analysis.tables.formats import Column, Sheet, set_markdown
from trainables.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.report.parts import Part
    from analysis.report.report import Report

PAGE = "README.md"
"""What a repository shows of a folder."""


def write_folder(reports: list[Report], folder: str) -> None:
    """Write the reports into a folder, which is made if it is not there.

    Raises:
        UsageError: It cannot be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from None
    lines = [
        line
        for i, report in enumerate(reports)
        for line in _report(report, folder, f"{i}-" if len(reports) > 1 else "")
    ]
    text = "\n\n".join(line for line in lines if line) + "\n"
    write_whole(str(Path(folder) / PAGE), text.encode("utf-8", errors="replace"))


def _report(report: Report, folder: str, prefix: str) -> Iterator[str]:
    """Yield the paragraphs of a study, writing its pictures."""
    yield f"# Plasticity study: {escape(report.study)}"
    yield f"{report.whole:,} of {report.expected:,} runs are whole."
    for part in report.parts:
        yield f"## {part.title}"
        if part.command:
            yield "\n".join(f"    {line}" for line in part.command.splitlines())
        if part.why:
            yield f"*Not made:* {escape(part.why)}"
            continue
        yield escape(part.lead)
        yield "\n".join(f"- {escape(line)}" for line in part.findings)
        if part.drawing:
            name = f"{prefix}{part.key}.png"
            _draw(part, str(Path(folder) / name))
            yield f"![{escape(part.drawing.alt)}]({name})"
        yield _sheets(part.sheets, part.explanation)
        if part.numbers:
            yield "<details><summary>The numbers</summary>"
            yield _sheets(part.numbers, ())
            yield "</details>"


def _draw(part: Part, file: str) -> None:
    """Write a part's picture."""
    from matplotlib import rc_context

    from analysis.figures.registry import FIGURES

    assert part.drawing
    with rc_context(STYLE):
        picture = FIGURES[part.drawing.figure]
        figure = picture.draw(part.drawing.data, None)
        write_whole(file, render(figure, "png", **picture.saved))


def _sheets(sheets: list[Sheet], explanation: tuple[str, ...]) -> str:
    """Return sheets in which no name is markup."""
    safe = [
        dataclasses.replace(
            sheet,
            title=escape(sheet.title),
            caption=escape(sheet.caption),
            columns=[
                Column(escape(c.name), escape(c.unit), c.right) for c in sheet.columns
            ],
            rows=[[escape(cell) for cell in row] for row in sheet.rows],
            notes=[escape(note) for note in sheet.notes],
        )
        for sheet in sheets
    ]
    return set_markdown(safe, [escape(line) for line in explanation]).strip()


def escape(text: str) -> str:
    r"""Return text in which Markdown sees no element, picture or link.

    >>> escape("<script>"), escape("![a](b)")
    ('&lt;script>', '!\\[a\\](b)')
    """
    line = " ".join(text.split())
    return (
        line.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace("[", r"\[")
        .replace("]", r"\]")
    )
