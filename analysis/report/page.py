"""A report as one page of HTML: no script, nothing from a network, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.figures.style import NARROW, SIZES, STYLE, write_whole

if TYPE_CHECKING:
    from analysis.report.parts import Drawing, Part
    from analysis.report.report import Report

TEMPLATE = "page.html"

MOST = 100
"""Rows of a table that a page has; its command has all."""


def write_page(reports: list[Report], file: str) -> None:
    """Write a page of the reports.

    Raises:
        UsageError: It cannot be written there.
    """
    write_whole(file, set_page(reports).encode("utf-8", errors="replace"))


def set_page(reports: list[Report]) -> str:
    """Return the page: whatever a name holds, it is text and never markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(TEMPLATE)
    return template.render(
        reports=[
            {"report": report, "parts": [_part(f"s{i}", part) for part in report.parts]}
            for i, report in enumerate(reports)
        ],
        title=", ".join(report.study for report in reports),
        most=MOST,
    )


def _part(prefix: str, part: Part) -> dict[str, Any]:
    """Return what the template needs of a part."""
    name = f"{prefix}-{part.key}"
    drawn = _draw(name, part.drawing) if part.drawing else None
    return {"id": name, "part": part, "drawn": drawn}


def _draw(name: str, drawing: Drawing) -> dict[str, Any]:
    """Return a figure twice: for a wide place and for a narrow one."""
    from matplotlib import rc_context

    from analysis.figures.registry import FIGURES
    from analysis.figures.svg import inline_svg

    picture = FIGURES[drawing.figure]
    widths = {"wide": None, "narrow": SIZES["one-column"]}
    drawn = {}
    with rc_context(STYLE):
        for kind, width in widths.items():
            figure = picture.draw(drawing.data, width)
            svg = inline_svg(
                figure, f"{name}-{kind}", drawing.alt, picture.adapts, **picture.saved
            )
            # made by matplotlib, which escapes what is written in a figure
            drawn[kind] = {
                "svg": Markup(svg),
                "fits": figure.get_figwidth() < NARROW,
                "inches": round(float(figure.get_figwidth()), 2),
            }
    return {**drawn, "adapts": picture.adapts}
