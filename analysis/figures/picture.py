"""What a figure is, the style that all share, and how one becomes the bytes of a file.

A figure is data made from records, and a drawing made from the data. So the data can be
tested without pixels, and be drawn on the axes of another figure.

Colours are those of Okabe & Ito (2008), which readers with the common forms of colour
blindness tell apart. Those of the paper's three optimizers differ in lightness too, so
that they can be told apart in grey.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trainables.record import Column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.tables.formats import Sheet

Columns = Mapping[str, Column]  # the columns of records: type, unit and meaning

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
SPARE = ("#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#F0E442")  # other optimizers


@attrs.frozen(kw_only=True)
class Picture:
    """A figure.

    Attributes:
        title: The heading of its part of a report.
        meaning: What it shows, in one line.
        columns: The columns of the records that it needs besides
            `analysis.records.runs.NEEDED`.
        data: From records of one study, the metrics to show (see `metrics`) and the
            columns of the records to a frame with one row per point.
        draw: From that frame and a width in inches (None: the figure's own) to a
            figure.
        numbers: From that frame to text that a reader looks numbers up in.
        metrics: The metrics it shows by default; empty if it shows none.
        cropped: Whether the file is cut to what is drawn; else it has its exact width.
        line_per_setting: Whether many settings are too many to draw.
    """

    title: str
    meaning: str
    columns: tuple[str, ...]
    data: Callable[[pd.DataFrame, tuple[str, ...], Columns], pd.DataFrame]
    draw: Callable[[pd.DataFrame, float | None], Figure]
    numbers: Callable[[Any], list[Sheet]]
    metrics: tuple[str, ...] = ()
    cropped: bool = False
    line_per_setting: bool = False

    def render(
        self,
        data: pd.DataFrame,
        suffix: str,
        width: float | None = None,
        salt: str = "plasticity-study",
    ) -> tuple[bytes, float]:
        """Return the figure as the bytes of a file, and its width in inches.

        Args:
            data: As `data` returns it.
            suffix: One of `FORMATS`.
            width: In inches; None: the figure's own.
            salt: Makes the ids in an SVG; figures on one page need different ones.
        """
        from matplotlib import rc_context

        options = dict(FORMATS[suffix])
        if not self.cropped:
            options["bbox_inches"] = None
        content = io.BytesIO()
        with rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
            # the name of a study may have characters that the font lacks
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure = self.draw(data, width)
            figure.savefig(content, format=suffix, **options)
        return content.getvalue(), float(figure.get_figwidth())


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
