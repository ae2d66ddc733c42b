"""The figure of test accuracy by task.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Figures 4 and 5; the band is ours.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.by_task import (
    by_task,
    by_task_sheets,
    describe_band,
    describe_stream,
    draw_by_task,
    draw_lines,
    rates_of,
)
from analysis.figures.picture import NARROW, Picture, draw_title, escape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `by_task` of test accuracy, in fractions, with a row for every setting."""
    return by_task(frame, {"test_accuracy": "test accuracy (%)"}, all_settings=True)


def draw_accuracy_figure(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `accuracy_by_task`, of one study: a panel per problem.

    Lines are named at their ends; in a figure narrower than `NARROW` below the panel.

    Raises:
        UsageError: A panel would have too many lines.
    """
    from matplotlib.figure import Figure

    if width is not None and width < NARROW:
        return draw_by_task(data, width)
    panels = [part for _, part in data.groupby("problem", sort=False)]
    height = 0.6 + 3.1 * len(panels)
    figure = Figure(figsize=(width or 7.5, height))
    figure.subplots_adjust(
        left=0.09, right=0.745, top=1 - 0.75 / height, bottom=0.5 / height, hspace=0.45
    )
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for panel, ax in zip(panels, grid, strict=True):
        draw_accuracy(panel, ax, rates_of(data))
    cut = any(_is_cut(panel) for panel in panels)
    more = " (cut off where it leaves the axes)" if cut else ""
    title = f"Test accuracy after each task, study {data['study'].iloc[0]}"
    draw_title(figure, title, describe_band(data) + more)
    return figure


def draw_accuracy(data: pd.DataFrame, ax: Axes, rates: Sequence[float]) -> None:
    """Draw one problem of `accuracy_by_task`, a line per setting, named at its end.

    The axes need room for names at the right. For `rates` see `draw_lines`.

    Raises:
        UsageError: There are too many lines.
    """
    ends = draw_lines(data, "test_accuracy", ax, rates, scale=100, dots=1)
    _set_axes(data, ax)
    if ends:
        label_lines(ax, ends)
    missing = data[data["runs"] == 0]
    if len(missing):
        pairs = zip(missing["label"], missing["diverged"], strict=True)
        names = ", ".join(f"{escape_text(n)} ({count} diverged)" for n, count in pairs)
        text = f"not drawn, no complete run: {names}"
        below: Any = {"xytext": (0, -34), "textcoords": "offset points", "va": "top"}
        ax.annotate(
            text, (0, 0), xycoords="axes fraction", size=8, color="0.35", **below
        )


def _set_axes(data: pd.DataFrame, ax: Axes) -> None:
    """Set limits, ticks, labels and the title."""
    from matplotlib.ticker import MaxNLocator

    last = int(data["tasks"].max()) - 1
    if last:
        ax.set_xlim(0, last)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        ax.set_xticks([0])
    ax.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    ax.set_ylim(_limits(data))
    ax.set_title(describe_stream(data))
    ax.set_xlabel("task")
    ax.set_ylabel("test accuracy (%)")
    ax.yaxis.set_label_coords(-0.075, 0.5)


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    """Return the limits of the axis of accuracy, in per cent.

    The lines take at least two fifths of it. The band of few seeds on a hard task may
    be far wider, even beyond 100%, and is cut off.
    """
    mean, lo, hi = (100 * data[n].to_numpy(dtype=float) for n in ("mean", "lo", "hi"))
    if np.isnan(mean).all():
        return 0.0, 100.0
    low, high = np.nanmin(mean), np.nanmax(mean)
    room = max(0.75 * (high - low), 0.5)
    bottom = max(0.0, low - room, np.fmin.reduce([*lo, low]) - 0.1)
    top = min(100.2, high + room, np.fmax.reduce([*hi, high]) + 0.1)
    return float(bottom), float(top)


def _is_cut(data: pd.DataFrame) -> bool:
    """Return whether a band leaves the axes."""
    bottom, top = _limits(data)
    return bool((100 * data["lo"] < bottom).any() or (100 * data["hi"] > top).any())


def label_lines(ax: Axes, ends: Sequence[tuple[float, str, dict[str, Any]]]) -> None:
    """Name lines to the right of the axes, near their ends.

    Names that would overlap are moved apart, with thin leaders to the lines' ends.

    Args:
        ax: The axes, with their limits set.
        ends: The last value, the name and the look of each line.
    """
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


FIGURE = Picture(
    title="Accuracy by task (Figures 4 and 5)",
    meaning="test accuracy by task: a panel per problem, a line per setting "
    "(Figures 4 and 5)",
    columns=("test_accuracy",),
    data=lambda frame, metrics, columns: accuracy_by_task(frame),
    draw=draw_accuracy_figure,
    numbers=functools.partial(by_task_sheets, scale=100, unit=" (%)", digits=".2f"),
    cropped=True,
    line_per_setting=True,
)
