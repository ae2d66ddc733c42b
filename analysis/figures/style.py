"""Style: fonts, colours and sizes, and how a figure becomes the bytes of a file.

Colours are those of Okabe & Ito (2008), which readers with the common forms of colour
blindness tell apart. Those of the paper's three optimizers differ in lightness too, so
that they can be told apart in grey.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES: dict[str, float] = {"one-column": 3.35, "two-column": 7.0}
"""Widths in inches that fit the columns of a paper."""

NARROW = 5.0
"""Below this width in inches, legends stand below the axes and titles are left out."""

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200, "bbox_inches": "tight"},
    "svg": {"metadata": {"Date": None}, "bbox_inches": "tight"},
    "pdf": {"metadata": {"CreationDate": None}, "bbox_inches": "tight"},
}
"""Options of `savefig`; without a date, so that equal figures are equal files."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "plasticity-study",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "xtick.color": "0.35",
    "ytick.color": "0.35",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
}
"""Matplotlib's settings; text stays text in SVG and PDF."""

COLOURS = {"sgd": "#000000", "sam": "#0072B2", "gnp": "#E69F00"}
SPARE = ("#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#F0E442")
"""Colours of other optimizers."""


def escape_text(text: str) -> str:
    r"""Return text that matplotlib shows as it is: no mathematics, no control signs.

    >>> escape_text("a$b$"), escape_text("bell\x07")
    ('a\\$b\\$', 'bell�')
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("$", r"\$")


def draw_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write a title and a line of explanation at the top left of a figure."""
    width, height = figure.get_size_inches()
    left, top = 0.1 / width, 1 - 0.1 / height
    figure.text(left, top, escape_text(title), size=11, weight="bold", va="top")
    figure.text(left, top - 0.21 / height, subtitle, size=8.5, color="0.35", va="top")


def render(figure: Figure, suffix: str, *, cropped: bool = True) -> bytes:
    """Return a figure as the bytes of a file.

    Args:
        figure: Drawn under `STYLE`.
        suffix: One of `FORMATS`.
        cropped: Cut the figure to what is drawn; else it keeps its exact width.
    """
    options = FORMATS[suffix] if cropped else {**FORMATS[suffix], "bbox_inches": None}
    content = io.BytesIO()
    with warnings.catch_warnings():
        # the name of a study may have characters that the font lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format=suffix, **options)
    return content.getvalue()
