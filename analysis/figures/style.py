"""Style: how lines look, how they are named, and how a figure becomes a file.

Colours are those of Okabe & Ito (2008), which readers with any of the common colour
blindnesses tell apart; the three of the paper's optimizers also differ in lightness,
so that they can be told in grey.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 12
"""The most lines that can be told apart in one panel."""

SIZES: dict[str, float] = {"one-column": 3.35, "two-column": 7.0}
"""Widths in inches that fit a paper's columns."""

NARROW = 5.0
"""Inches: below it, lines are named below the axes and not beside them."""

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200, "bbox_inches": "tight"},
    "svg": {"metadata": {"Date": None}, "bbox_inches": "tight"},
    "pdf": {"metadata": {"CreationDate": None}, "bbox_inches": "tight"},
}
"""What saving takes; no dates, so that the same figure is the same file."""

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
"""Matplotlib's settings: text stays text, and the data is what has ink."""

COLOURS = {"sgd": "#000000", "sam": "#0072B2", "gnp": "#E69F00"}
SPARE = ("#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#F0E442")
ROW = (*COLOURS.values(), *SPARE[:-1])
"""Colours in a row; yellow is too pale to be one of many."""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


def line_looks(
    settings: Sequence[tuple[str, float]], rates: Sequence[float]
) -> list[dict[str, Any]]:
    """Return how to draw each setting's line: colour by optimizer, dashes by rate.

    Where that would give two settings one look, or there are more rates than dashes,
    dashes tell the optimizers, and colours the settings of one optimizer; where there
    are too many of these too, colours are gone through, and then dashes.

    Args:
        settings: Each one's optimizer and learning rate, at most `LINES`.
        rates: The learning rates, in the order of the dashes.
    """
    kinds = list(dict.fromkeys(name for name, _ in settings))
    others = [name for name in kinds if name not in COLOURS]
    colours = COLOURS | dict(zip(others, SPARE, strict=False))
    known = all(name in colours for name in kinds)
    earlier = [[n for n, _ in settings[:i]] for i in range(len(settings))]
    nth = [seen.count(n) for (n, _), seen in zip(settings, earlier, strict=True)]
    if known and len(rates) <= len(DASHES) and len(set(settings)) == len(settings):
        looks = [(colours[name], DASHES[rates.index(lr)]) for name, lr in settings]
    elif max(nth) < len(ROW) and len(kinds) <= len(DASHES):
        looks = [
            (ROW[n], DASHES[kinds.index(name)])
            for n, (name, _) in zip(nth, settings, strict=True)
        ]
    else:
        count = len(settings)
        looks = [(ROW[i % len(ROW)], DASHES[i // len(ROW)]) for i in range(count)]
    return [
        {"color": colour, "linestyle": dashes, "linewidth": 1.4}
        for colour, dashes in looks
    ]


def label_lines(ax: Axes, ends: Sequence[tuple[float, str, dict[str, Any]]]) -> None:
    """Name lines to the right of the axes, near where each ends.

    A name comes with a piece of its line, and a thin leader from the line's end where
    names had to be moved apart.

    Args:
        ax: The axes, with their limits set.
        ends: For each line where it ends (in the data's unit), its name and its look.
    """
    low, high = ax.get_ylim()
    figure = ax.get_figure(root=True)
    assert figure is not None
    inches = ax.get_position().height * figure.get_figheight()
    size = 8.5
    gap = 1.45 * size / 72 / inches
    ordered = sorted(ends, key=lambda end: end[0])
    at = [(end[0] - low) / (high - low) for end in ordered]
    for (_, name, look), start, y in zip(ordered, at, spread(at, gap), strict=True):
        line: Any = {
            "transform": ax.transAxes,
            "clip_on": False,
            "solid_capstyle": "butt",
        }
        ax.plot([1.005, 1.035], [start, y], color="0.7", linewidth=0.6, **line)
        ax.plot([1.04, 1.105], [y, y], **look, **line)
        ax.text(1.12, y, name, transform=ax.transAxes, va="center", size=size)


def legend_below(ax: Axes, lines: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Name lines below the axes, in two columns."""
    from matplotlib.lines import Line2D

    if lines:
        ax.legend(
            handles=[Line2D([], [], label=name, **look) for name, look in lines],
            loc="upper left",
            bbox_to_anchor=(-0.14, -0.24),
            ncols=2,
            frameon=False,
            fontsize=7.5,
            handlelength=2.2,
            columnspacing=1.2,
            labelspacing=0.3,
        )


def plain(text: str) -> str:
    r"""Return text in which matplotlib sees no mathematics, nor XML a bad character.

    >>> plain("a$b$"), plain("bell\x07")
    ('a\\$b\\$', 'bell�')
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("$", r"\$")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending places moved as little as needed to be a gap apart.

    They stay within [0, 1] if they fit there. Least squares: places that would touch
    form a block around their common mean.

    >>> spread([0.5, 0.5], 0.25), spread([0.1, 0.9], 0.25), spread([0.0, 0.0], 0.5)
    ([0.375, 0.625], [0.1, 0.9], [0.0, 0.5])
    """
    blocks: list[list[float]] = []

    def first(block: list[float]) -> float:
        span = (len(block) - 1) * gap
        middle = sum(block) / len(block)
        return max(0.0, min(middle - span / 2, 1 - span))

    for place in places:
        blocks.append([place])
        while len(blocks) > 1:
            one, other = blocks[-2:]
            if first(one) + len(one) * gap <= first(other):
                break
            blocks[-2:] = [one + other]
    return [first(block) + i * gap for block in blocks for i in range(len(block))]


def save(figure: Figure, file: str, suffix: str) -> None:
    """Write a figure to a file that appears whole or not at all.

    Raises:
        UsageError: It cannot be written there.
    """
    write_whole(file, render(figure, suffix))


def render(figure: Figure, suffix: str, **more: Any) -> bytes:
    """Return a figure as the bytes of a file.

    Args:
        figure: To be drawn under `STYLE`.
        suffix: One of `FORMATS`.
        more: For `savefig`.
    """
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # a study's name may have signs that the font has not: they become boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(drawn, format=suffix, **FORMATS[suffix] | more)
    return drawn.getvalue()


def write_whole(file: str, content: bytes) -> None:
    """Write a file.

    Raises:
        UsageError: It cannot be written there.
    """
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
