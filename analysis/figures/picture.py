"""What all figures share: their class, style, colors, headings and texts.

A figure makes data from records and then draws the data. So tests can check the data
without pixels.

The colors are from Okabe & Ito (2008). Readers with the common forms of color
blindness can tell these colors apart. The colors of SGD, SAM and GNP also differ in
lightness, so these three can be told apart in grey.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from analysis.statistics.metrics import MEASURE
from analysis.tables.formats import Sheet
from trainables.record import Column
from trainables.usage import UsageError

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
    """What the user wants a figure to show."""

    metrics: tuple[str, ...] = ()  # the names of the metrics
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
        most: The largest number of settings in a panel, if the figure has a line per
            setting; else None.
        any_measure: Whether the figure can show each measure of `metrics.MEASURES`.
        compares: Whether the figure compares settings with a baseline, and so needs the
            records of the baseline too.
        needs_labels: Whether the figure is about tasks with labels, which problems of
            control do not have.
    """

    title: str
    meaning: str
    columns: tuple[str, ...]
    data: Callable[[pd.DataFrame, View, Columns], pd.DataFrame]
    draw: Callable[[pd.DataFrame, float | None], Figure]
    numbers: Callable[[Any], list[Sheet]]
    metrics: tuple[str, ...] = ()
    most: int | None = None
    any_measure: bool = False
    compares: bool = False
    needs_labels: bool = False

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
    ) -> tuple[bytes, float]:
        """Draw `data`; return the bytes of a file and the width in inches.

        `suffix` is the format, a key of `FORMATS`.
        """
        content = io.BytesIO()
        with (
            rc_context({**STYLE, "svg.hashsalt": "plasticity-study"}),
            warnings.catch_warnings(),
        ):
            # The name of a study can have characters that are missing in the font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure = self.draw(data, width)
            figure.savefig(content, format=suffix, **FORMATS[suffix])
        return content.getvalue(), float(figure.get_figwidth())


def legend_columns(count: int, widest: float, width: float) -> int:
    """Return the number of columns of a legend, at most 4, equally long if possible.

    `widest` is the width of the widest entry in inches, `width` that of the figure.

    >>> legend_columns(6, 1.0, 7.0), legend_columns(6, 3.0, 7.0)
    (3, 2)
    """
    most = min(max(int((width - 0.1) // widest), 1), 4)
    return -(-count // -(-count // most))


def escape_text(text: str) -> str:
    r"""Escape "$", which would start a formula, and replace unprintable characters.

    >>> escape_text("a$b$"), escape_text("bell\x07")
    ('a\\$b\\$', 'bell�')
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("$", r"\$")


def describe_stream(data: pd.DataFrame) -> str:
    """Return the heading of one problem, as in "permuted (mnist, 100 tasks)"."""
    sets = ", ".join(sorted(set(data["dataset"])))
    lengths = " or ".join(map(str, sorted(set(data["tasks"]))))
    plural = "" if lengths == "1" else "s"
    problem = data["problem"].iloc[0]
    return escape_text(f"{problem} ({sets}, {lengths} task{plural})")


def too_many(count: int, what: str, most: int) -> UsageError:
    """Return the error for too many items; `what` names them, as in "settings"."""
    return UsageError(
        f"there are {count} {what}, but a figure shows at most {most}: choose settings "
        "with --setting ID (python -m analysis table --format csv lists the IDs)"
    )


def text_size(width: float) -> float:
    """Return the size in points of the text in a figure that is `width` inches wide."""
    return 7 if width < NARROW else 8.5


@attrs.frozen
class Heading:
    """The text at the top of a figure, in lines that fit the width of the figure.

    A figure narrower than `NARROW` has no title, because a paper has a caption for it.
    """

    title: str
    text: str  # explains the figure; names in it are escaped
    width: float  # the width of the figure in inches

    @property
    def inches(self) -> float:
        """The height of the heading, with the space below it."""
        heights = [LINE * (t.count("\n") + 1) * size for t, size, _ in self._parts]
        return sum(heights) / 72 + (0.16 if heights else 0.0)

    @property
    def _parts(self) -> list[tuple[str, float, dict[str, Any]]]:
        """Title and text, unless empty: (wrapped text, size in points, style)."""
        inches, size = self.width - 0.2, text_size(self.width)
        title = "" if self.width < NARROW else escape_text(self.title)
        parts: list[tuple[str, float, dict[str, Any]]] = [
            (wrap_text(title, inches, 11, bold=True), 11, {"weight": "bold"}),
            (wrap_text(self.text, inches, size), size, {"color": "0.35"}),
        ]
        return [part for part in parts if part[0]]

    def make_figure(self, inches: float) -> Figure:
        """Return a figure with room for this heading, above `inches` for the axes."""
        height = inches + self.inches
        figure = Figure(figsize=(self.width, height), layout="constrained")
        engine: Any = figure.get_layout_engine()
        engine.set(rect=(0, 0, 1, inches / height))
        return figure

    def draw(self, figure: Figure) -> None:
        """Write the heading at the top left of a figure."""
        height = figure.get_figheight()
        left, top = 0.1 / self.width, height - 0.08
        for text, size, style in self._parts:
            style = {**style, "size": size, "va": "top", "linespacing": 1.2}
            figure.text(left, top / height, text, **style)
            top -= LINE * size * (text.count("\n") + 1) / 72


LINE = 1.35
"""The height of a line of text in a heading, in multiples of the size of the font."""


@functools.lru_cache(maxsize=4096)  # the same names are measured again and again
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the largest width of a line of text in inches; `size` is in points.

    The result includes 6% for PNG files: the width of each sign is rounded to whole
    pixels there, which makes a line up to 6% wider.
    """
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
