"""A report is data: its parts, and what they show."""

from __future__ import annotations

import attrs
import pandas as pd

from analysis.tables.formats import Sheet


@attrs.frozen
class Drawing:
    """A figure in a report.

    Attributes:
        figure: One of `analysis.figures.FIGURES`.
        data: The data that it draws.
        alt: What it shows, in words.
        numbers: The same numbers as text.
    """

    figure: str
    data: pd.DataFrame
    alt: str
    numbers: list[Sheet]


@attrs.frozen(kw_only=True)
class Part:
    """A section of a report: its content, or the reason why there is none.

    Attributes:
        key: Unique in the report.
        title: Its heading.
        command: The command that prints or draws the same.
        lead: A sentence on what it shows.
        findings: Sentences on what came out.
        sheets: Its tables.
        explanation: What a reader needs to understand the tables.
        drawing: Its figure.
        problem: Why the part could not be made; empty if it was.
        failed: Whether that is a fault of this program.
    """

    key: str
    title: str
    command: str = ""
    lead: str = ""
    findings: tuple[str, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    explanation: tuple[str, ...] = ()
    drawing: Drawing | None = None
    problem: str = ""
    failed: bool = False


@attrs.frozen
class Report:
    """The report of a study.

    Attributes:
        study: Its name.
        complete: The number of its complete runs.
        expected: The number of runs it should have.
        parts: In the order of the page.
    """

    study: str
    complete: int
    expected: int
    parts: list[Part]
