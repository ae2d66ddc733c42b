"""The class of a figure, the style of all figures, and their export to a file.

A figure makes data from records and then draws the data. So tests can check the data
without pixels, and the data can be drawn on the axes of another figure.

The colours are those of Okabe & Ito (2008). Readers with the common forms of colour
blindness can tell these colours apart. The colours of SGD, SAM and GNP also differ in
lightness, so readers can tell these three apart in grey.
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

Columns = Mapping[str, Column]  # type, unit and meaning of each column of the records

SIZES: dict[str, float] = {"one-column": 3.35, "two-column": 7.0}
"""Widths of figures in inches that fit one or two columns of a paper."""

NARROW = 5.0
"""A figure narrower than this many inches has its legend below and has no title."""

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200, "bbox_inches": "tight"},
    "svg": {"metadata": {"Date": None}, "bbox_inches": "tight"},
    "pdf": {"metadata": {"CreationDate": None}, "bbox_inches": "tight"},
}
"""Options of `savefig` by format. Files have no date: equal figures are equal files."""

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
"""Settings of matplotlib for all figures. Text stays text in SVG and PDF files."""

COLOURS = {"sgd": "#000000", "sam": "#0072B2", "gnp": "#E69F00"}
SPARE = ("#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#F0E442")  # other optimizers


@attrs.frozen(kw_only=True)
class Picture:
    """A figure: its texts, and the functions that make its data and its drawing.

    Attributes:
        title: The heading of the figure in a report.
        meaning: What the figure shows, in one line.
        columns: The columns of the records that the figure needs, besides
            `analysis.records.runs.NEEDED`.
        data: A function that makes the data of the figure, a frame with one row per
            point. Its arguments are the records of one study, the metrics to show (see
            `metrics`) and the columns of the records.
        draw: A function that draws the data. Its arguments are the data and a width in
            inches; None means the default width of the figure.
        numbers: A function that makes tables of numbers from the data.
        metrics: The metrics that the figure shows by default; empty if it shows none.
        cropped: Whether empty margins are cut off. If False, the file has exactly the
            requested width.
        line_per_setting: Whether the figure has a line per setting. Such a figure
            cannot show many settings.
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
        """Draw the figure; return the bytes of a file and the width in inches.

        Args:
            data: The data, as the function `data` of this class returns it.
            suffix: The format, a key of `FORMATS`.
            width: The width in inches. None means the default width of the figure.
            salt: Text from which the ids in an SVG file are made. Figures on the same
                web page need different salts, so that their ids differ.
        """
        from matplotlib import rc_context

        options = dict(FORMATS[suffix])
        if not self.cropped:
            options["bbox_inches"] = None
        content = io.BytesIO()
        with rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
            # The name of a study may have characters that are missing in the font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure = self.draw(data, width)
            figure.savefig(content, format=suffix, **options)
        return content.getvalue(), float(figure.get_figwidth())


def escape_text(text: str) -> str:
    r"""Escape text so that matplotlib shows it without change.

    A "$" would start a formula, so it gets a backslash. Characters that cannot be
    printed are replaced.

    >>> escape_text("a$b$"), escape_text("bell\x07")
    ('a\\$b\\$', 'bell�')
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("$", r"\$")


def draw_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write a title and a line that explains the figure at the figure's top left."""
    width, height = figure.get_size_inches()
    left, top = 0.1 / width, 1 - 0.1 / height
    figure.text(left, top, escape_text(title), size=11, weight="bold", va="top")
    figure.text(left, top - 0.21 / height, subtitle, size=8.5, color="0.35", va="top")
