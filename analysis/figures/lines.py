"""Lines by task: how each setting's line looks, what it is called, and drawing it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.style import COLOURS, SPARE, escape_text
from analysis.tables.words import count_range, too_many

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 12
"""The most lines of a panel that readers can tell apart."""

SERIES = (*COLOURS.values(), *SPARE[:-1])
"""Colours that number settings; the last spare one, yellow, is too pale."""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


def line_looks(
    settings: Sequence[tuple[str, float]], rates: Sequence[float]
) -> list[dict[str, Any]]:
    """Return how to draw the line of each setting; no two look the same.

    The colour is the optimizer's and the dashes are the learning rate's. If two
    settings would then look the same, or there are too many of either, colours and
    dashes number the settings.

    Args:
        settings: The optimizer and the learning rate of each, at most `LINES`.
        rates: The learning rates, in the order of the dashes.
    """
    others = [name for name, _ in settings if name not in COLOURS]
    colours = COLOURS | dict(zip(dict.fromkeys(others), SPARE, strict=False))
    unique = len(set(settings)) == len(settings)
    known = all(name in colours for name, _ in settings)
    if unique and known and len(rates) <= len(DASHES):
        looks = [(colours[name], DASHES[rates.index(lr)]) for name, lr in settings]
    else:
        looks = list(itertools.product(DASHES, SERIES))[: len(settings)]
        looks = [(colour, dashes) for dashes, colour in looks]
    return [{"color": c, "linestyle": d, "linewidth": 1.4} for c, d in looks]


def rates_of(data: pd.DataFrame) -> list[float]:
    """Return the learning rates of the lines, the largest first."""
    return sorted(set(data.loc[data["runs"] > 0, "lr"].tolist()), reverse=True)


def settings_and_looks(
    data: pd.DataFrame, rates: Sequence[float]
) -> list[tuple[dict[Any, Any], dict[str, Any]]]:
    """Return the first row and the look of each setting of a panel that has runs.

    Raises:
        UsageError: There are more settings than `LINES`.
    """
    settings = data.drop_duplicates("setting_id")
    if len(settings) > LINES:
        raise too_many(len(settings), f"settings of {data['problem'].iloc[0]}", LINES)
    settings = settings[settings["runs"] > 0]
    pairs = list(zip(settings["optimizer"], settings["lr"], strict=True))
    looks = line_looks(pairs, rates) if pairs else []
    return list(zip(settings.to_dict("records"), looks, strict=True))


def draw_line(
    part: pd.DataFrame, ax: Axes, look: dict[str, Any], *, scale: float, dots: int
) -> None:
    """Draw one setting's mean by task with its band.

    Args:
        part: Rows of `by_task`, of one setting and measure.
        ax: The axes.
        look: One of `line_looks`.
        scale: What the numbers are multiplied by.
        dots: Mark every task if there are at most this many.
    """
    task, band = part["task"], scale * part[["mean", "lo", "hi"]].to_numpy(dtype=float)
    marker = "o" if len(part) <= dots else None
    name = setting_name(part.iloc[0].to_dict())
    ax.plot(task, band[:, 0], label=name, marker=marker, markersize=2.5, **look)
    ax.fill_between(task, *band[:, 1:].T, color=look["color"], alpha=0.1, lw=0)
    if len(part) == 1:  # a band over one task has no width
        ax.vlines(task, *band[:, 1:].T, color=look["color"], lw=0.8)


def setting_name(setting: dict[Any, Any]) -> str:
    """Return a setting's label, with the number of its runs if some are missing."""
    few = setting["runs"] < setting["expected"]
    count = f" ({setting['runs']} of {setting['expected']})" if few else ""
    return f"{escape_text(setting['label'])}{count}"


def describe_stream(data: pd.DataFrame) -> str:
    """Return the heading of a problem's panels: "permuted (mnist, 100 tasks)"."""
    sets = ", ".join(sorted(set(data["dataset"].tolist())))
    lengths = " or ".join(map(str, sorted(set(data["tasks"].tolist()))))
    plural = "" if lengths == "1" else "s"
    problem = data["problem"].iloc[0]
    return escape_text(f"{problem} ({sets}, {lengths} task{plural})")


def describe_band(data: pd.DataFrame) -> str:
    """Return what the lines and bands of a figure are."""
    counts = set(data.loc[data["runs"] > 0, "runs"].tolist())
    if not counts:
        return "No setting has a complete run."
    if counts == {1}:
        return "One run per setting, so there is no interval."
    return f"Mean over {count_range(counts)} seeds; band: 95% t-interval at each task"


def label_lines(ax: Axes, ends: Sequence[tuple[float, str, dict[str, Any]]]) -> None:
    """Name lines to the right of the axes, near their ends.

    Names that would overlap are moved apart, with thin leaders to the lines' ends.

    Args:
        ax: The axes, with their limits set.
        ends: The last value, the name and the look of each line.
    """
    if not ends:
        return
    low, high = ax.get_ylim()
    figure = ax.get_figure(root=True)
    assert figure is not None
    inches = ax.get_position().height * figure.get_figheight()
    size = 8.5
    gap = 1.45 * size / 72 / inches
    ordered = sorted(ends, key=lambda end: end[0])
    heights = [(end[0] - low) / (high - low) for end in ordered]
    beside: Any = {"transform": ax.transAxes, "clip_on": False}
    beside["solid_capstyle"] = "butt"
    apart = spread(heights, gap)
    for (_, name, look), height, y in zip(ordered, heights, apart, strict=True):
        ax.plot([1.005, 1.035], [height, y], color="0.7", linewidth=0.6, **beside)
        ax.plot([1.04, 1.105], [y, y], **look, **beside)
        ax.text(1.12, y, name, transform=ax.transAxes, va="center", size=size)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved as little as possible to be a gap apart.

    Least squares, within [0, 1] if they fit there. With y = z + gap * (0, 1, 2, ...)
    this is the isotonic regression of z, clipped.

    >>> spread([0.5, 0.5], 0.25), spread([0.1, 0.9], 0.25), spread([0.0, 0.0], 0.5)
    ([0.375, 0.625], [0.1, 0.9], [0.0, 0.5])
    """
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(heights))
    z = isotonic_regression(np.array(heights) - steps).x
    return list((np.clip(z, 0, max(0, 1 - steps[-1])) + steps).tolist())
