"""The class of a figure, the style of all figures, and their export to a file.

A figure makes data from records and then draws the data. So tests can check the data
without pixels, and the data can be drawn on the axes of another figure.

The colors are from Okabe & Ito (2008). Readers with the common forms of color
blindness can tell these colors apart. The colors of SGD, SAM and GNP also differ in
lightness, so readers can tell these three apart in grey.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from analysis.statistics.metrics import MEASURE
from trainables.record import Column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.tables.formats import Sheet

Columns = Mapping[str, Column]  # type, unit and meaning of each column of the records

SIZES: dict[str, float] = {"one-column": 3.35, "two-column": 7.0}
"""Widths of figures in inches that fit one or two columns of a paper."""

NARROW = 5.0
"""A figure narrower than this many inches has smaller text and no title."""

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}
"""Options of `savefig` by format. Without a date, equal figures give equal files."""

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

COLORS = {"sgd": "#000000", "sam": "#0072B2", "gnp": "#E69F00"}
SPARE = ("#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#F0E442")  # other optimizers


@attrs.frozen(kw_only=True)
class View:
    """The choices of the user about what a figure shows."""

    metrics: tuple[str, ...] = ()  # names of metrics; see `Picture.metrics`
    measure: str = MEASURE  # the measure of the metrics, a key of `metrics.MEASURES`
    baseline: str = "sgd"  # the baseline of a comparison; see `comparing.baselines`


@attrs.frozen(kw_only=True)
class Picture:
    """A figure: its texts, and the functions that make its data and its drawing.

    Attributes:
        title: The heading of the figure in a report.
        meaning: What the figure shows, in one line.
        columns: The columns of the records that the figure needs, besides
            `analysis.records.runs.NEEDED`.
        data: A function that makes the data of the figure, a frame with one row per
            point. Its arguments are the records of one study, the user's choices, and
            the columns of the records.
        draw: A function that draws the data. Its arguments are the data and a width in
            inches; None means the default width of the figure.
        numbers: A function that makes tables of numbers from the data.
        metrics: The metrics that the figure shows by default; empty if it shows none.
        line_per_setting: Whether the figure has a line per setting. Such a figure
            cannot show many settings.
        any_measure: Whether the figure can show each measure of `metrics.MEASURES`.
        compares: Whether the figure compares settings with a baseline, so that it needs
            the records of the baseline too.
    """

    title: str
    meaning: str
    columns: tuple[str, ...]
    data: Callable[[pd.DataFrame, View, Columns], pd.DataFrame]
    draw: Callable[[pd.DataFrame, float | None], Figure]
    numbers: Callable[[Any], list[Sheet]]
    metrics: tuple[str, ...] = ()
    line_per_setting: bool = False
    any_measure: bool = False
    compares: bool = False

    def columns_for(self, measure: str) -> tuple[str, ...]:
        """Return the columns of the records that the figure of a measure needs."""
        if not self.any_measure:
            return self.columns
        return tuple(measure if name == MEASURE else name for name in self.columns)

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

        content = io.BytesIO()
        with rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
            # The name of a study can have characters that are missing in the font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure = self.draw(data, width)
            figure.savefig(content, format=suffix, **FORMATS[suffix])
        return content.getvalue(), float(figure.get_figwidth())


def legend_columns(count: int, widest: float, width: float) -> int:
    """Return the number of columns of a legend, at most 4, equally long if possible.

    Args:
        count: The number of entries.
        widest: The width of the widest entry in inches.
        width: The width of the figure in inches.

    >>> legend_columns(6, 1.0, 7.0), legend_columns(6, 3.0, 7.0)
    (3, 2)
    """
    most = min(max(int((width - 0.1) // widest), 1), 4)
    return -(-count // -(-count // most))


def escape_text(text: str) -> str:
    r"""Escape text so that matplotlib shows it without change.

    A "$" would start a formula, so it gets a backslash. Characters that cannot be
    printed are replaced.

    >>> escape_text("a$b$"), escape_text("bell\x07")
    ('a\\$b\\$', 'bell�')
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("$", r"\$")


@attrs.frozen
class Heading:
    """The text at the top of a figure, in lines that fit the width of the figure.

    A figure narrower than `NARROW` has no title: the caption in a paper has it.
    """

    title: str
    text: str  # explains the figure; names in it are escaped
    width: float  # the width of the figure in inches

    @property
    def inches(self) -> float:
        """The height of the heading, with the space below it."""
        lines = [part.count("\n") + 1 if part else 0 for part, _, _ in self._parts]
        sizes = [size for _, size, _ in self._parts]
        heights = [LINE * n * size for n, size in zip(lines, sizes, strict=True)]
        return sum(heights) / 72 + (0.16 if any(lines) else 0.0)

    @property
    def _parts(self) -> tuple[tuple[str, float, dict[str, Any]], ...]:
        """Title and text: (wrapped text, size in points, style for `figure.text`)."""
        narrow, inches = self.width < NARROW, self.width - 0.2
        title = "" if narrow else escape_text(self.title)
        title = wrap_text(title, inches, 11, bold=True)
        size = 7 if narrow else 8.5
        text = wrap_text(self.text, inches, size)
        return (title, 11, {"weight": "bold"}), (text, size, {"color": "0.35"})

    def draw(self, figure: Figure) -> None:
        """Write the heading at the top left of a figure."""
        height = figure.get_figheight()
        left, top = 0.1 / self.width, height - 0.08
        for text, size, style in self._parts:
            if text:
                style = {**style, "size": size, "va": "top", "linespacing": 1.2}
                figure.text(left, top / height, text, **style)
                top -= LINE * size * (text.count("\n") + 1) / 72


LINE = 1.35
"""The height of a line of text in a heading, in multiples of the size of the font."""


@functools.lru_cache(maxsize=4096)  # the same names are measured again and again
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the largest width of a line of text in inches; `size` is in points.

    The result includes 6% for PNG files: they round the width of each sign to whole
    pixels, and the rounding makes a line up to 6% wider.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    weight = "bold" if bold else "normal"
    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.06 * float(width) / 72


def wrap_text(text: str, inches: float, size: float, *, bold: bool = False) -> str:
    """Break text into lines of at most `inches`, between words where possible.

    >>> wrap_text("loss of plasticity", 0.8, 9).splitlines()
    ['loss of', 'plasticity']
    """
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, size, bold=bold) <= inches:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for sign in word:  # Only a word that is wider than a line is broken.
            if lines[-1] and text_width(lines[-1] + sign, size, bold=bold) > inches:
                lines.append("")
            lines[-1] += sign
    return "\n".join(lines)
