"""A figure as SVG within a page: one of many, on a light or a dark ground."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUND = {
    "#000000": "var(--ink)",
    "#595959": "var(--quiet)",
    "#b2b2b2": "var(--rule)",
    "#b3b3b3": "var(--rule)",
    "#e5e5e5": "var(--faint)",
    "#e6e6e6": "var(--faint)",
    "#ffffff": "var(--paper)",
    "#0072b2": "var(--blue)",
}
"""Colours of `analysis.figures.style` that a dark ground needs others for."""


def inline_svg(
    figure: Figure, name: str, alt: str, adapts: bool = True, **more: Any
) -> str:
    """Return a figure as an element of a page.

    Its ids begin with `name`, so that they are no other figure's; its text stays text,
    in the page's own face; it is as wide as its place.

    Args:
        figure: To be drawn under `analysis.figures.style.STYLE`.
        name: Unique in the page; letters, digits and hyphens.
        alt: What it shows, in words.
        adapts: Whether its greys are to be the page's, so that it suits both grounds.
        more: For `analysis.figures.style.render`.
    """
    from matplotlib import rc_context

    from analysis.figures.style import render

    with rc_context({"svg.hashsalt": name}):
        drawn = render(figure, "svg", transparent=True, **more).decode("utf-8")
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # it would hold for the whole page, which says the same of figures itself
    body = re.sub(r"<style\b.*?</style>", "", body, flags=re.DOTALL)
    # nothing refers to an image, and two that look alike have one id
    body = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", body)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href|href)="#([^"]*)"', rf'\1="#{name}-\2"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", body)
    # hundredths of a point are finer than any screen, and half the page; what is
    # written in a figure stays as it is
    body = re.sub(r'(?<= )(?:d|x|y|points|transform)="[^"]*"', _shorten, body)
    body = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 var(--face)", body)
    if adapts:
        for grey, called in GROUND.items():
            body = body.replace(f": {grey}", f": {called}")
    head, _, rest = body.partition(">")
    found = re.search(r'viewBox="([^"]*)"', head)
    assert found, "matplotlib writes a viewBox"
    words = html.escape(alt)
    return (
        f'<svg viewBox="{found[1]}" role="img" aria-label="{words}" '
        'xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
        f"<title>{words}</title>{rest.strip()}"
    )


def _shorten(attribute: re.Match[str]) -> str:
    """Return an attribute with its numbers cut to hundredths."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", attribute[0])
