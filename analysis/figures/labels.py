"""Names at the ends of lines, so that readers need no legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from analysis.figures.picture import text_width

MOST = 0.4  # the maximum share of the width of a figure that names can take
STEP = 1.45  # the distance of neighboring names, in multiples of the size of the font


@attrs.frozen
class End:
    """The end of a line, where its name stands."""

    value: float  # the last value of the line, in the unit of the axis
    name: str
    look: dict[str, Any]  # the style of the line, as keyword arguments of `Axes.plot`


def names_fit(names: Sequence[str], size: float, room: tuple[float, float]) -> bool:
    """Return whether names have room to the right of a panel.

    `size` is the size of the font in points. `room` is the width of the figure and the
    height of the axes, in inches.
    """
    width, height = room
    widest = max((text_width(name, size) for name in names), default=0.0)
    return widest <= MOST * width and len(names) * STEP * size / 72 <= height


def label_ends(ax: Axes, ends: Sequence[End], size: float, inches: float) -> None:
    """Write the name of each line to the right of the axes, near the end of the line.

    Names that would overlap are moved apart. A thin grey line connects each name to the
    end of its line. Set the limits of the axes before. `size` is the size of the font
    in points, and `inches` is the smallest height that the axes can have.
    """
    low, high = ax.get_ylim()
    ordered = sorted(ends, key=lambda end: end.value)
    heights = [float(np.clip((e.value - low) / (high - low), 0, 1)) for e in ordered]
    apart = spread(heights, STEP * size / 72 / inches)
    style: Any = {"transform": ax.transAxes, "clip_on": False}
    style["solid_capstyle"] = "butt"
    for end, height, y in zip(ordered, heights, apart, strict=True):
        ax.plot([1.005, 1.035], [height, y], color="0.7", linewidth=0.6, **style)
        ax.plot([1.04, 1.105], [y, y], **end.look, **style)
        ax.text(1.12, y, end.name, transform=ax.transAxes, va="center", size=size)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights apart until neighbors differ by at least `gap`; return them.

    The heights must be ascending. The sum of the squared moves is as small as possible.
    The result lies within [0, 1] if all heights fit there. It is the isotonic
    regression of heights - gap * (0, 1, 2, ...), clipped, plus gap * (0, 1, 2, ...).

    >>> spread([0.5, 0.5], 0.25), spread([0.1, 0.9], 0.25), spread([0.0, 0.0], 0.5)
    ([0.375, 0.625], [0.1, 0.9], [0.0, 0.5])
    """
    steps = gap * np.arange(len(heights))
    z = isotonic_regression(np.array(heights) - steps).x
    return list((np.clip(z, 0, max(0, 1 - steps[-1])) + steps).tolist())
