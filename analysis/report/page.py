"""Write reports as one page of HTML, without scripts or anything from a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.figures import FIGURES
from analysis.figures.style import NARROW, SIZES, STYLE, render
from analysis.records.write import write_file
from analysis.report.parts import Drawing, Report

TEMPLATE = "page.html"

MOST_ROWS = 100
"""The most rows of a table on the page; the part's command prints all."""


def write_page(reports: Sequence[Report], file: str) -> None:
    """Write a page of the reports.

    Raises:
        UsageError: The file cannot be written.
    """
    write_file(file, make_page(reports).encode("utf-8", errors="replace"))


def make_page(reports: Sequence[Report]) -> str:
    """Return the page; names in the results are escaped, never markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    entries = []
    for i, report in enumerate(reports):
        parts = []
        for part in report.parts:
            name = f"s{i}-{part.key}"
            drawn = _draw(part.drawing, name) if part.drawing else None
            parts.append({"id": name, "part": part, "drawn": drawn})
        entries.append({"report": report, "parts": parts})
    return environment.get_template(TEMPLATE).render(
        reports=entries,
        title=", ".join(report.study for report in reports),
        most=MOST_ROWS,
    )


def _draw(drawing: Drawing, name: str) -> dict[str, Any]:
    """Return a figure in two widths: for a wide screen and for a telephone."""
    from matplotlib import rc_context

    picture = FIGURES[drawing.figure]
    drawn = {}
    for kind, width in (("wide", None), ("narrow", SIZES["one-column"])):
        prefix = f"{name}-{kind}"
        with rc_context({**STYLE, "svg.hashsalt": prefix}):
            figure = picture.draw(drawing.data, width)
            svg = render(figure, "svg", cropped=picture.cropped).decode("utf-8")
        drawn[kind] = {
            # Matplotlib escapes the text of a figure
            "svg": Markup(unique_ids(svg[svg.index("<svg") :], prefix)),
            "fits": figure.get_figwidth() < NARROW,
            "inches": round(float(figure.get_figwidth()), 2),
        }
    return drawn


def unique_ids(svg: str, prefix: str) -> str:
    """Return an SVG element whose ids begin with a prefix, for a page of several.

    >>> unique_ids('<path id="a"/><use xlink:href="#a" clip-path="url(#b)"/>', "x")
    '<path id="x-a"/><use xlink:href="#x-a" clip-path="url(#x-b)"/>'
    """
    # equal images have equal ids, which nothing refers to
    svg = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", svg)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
