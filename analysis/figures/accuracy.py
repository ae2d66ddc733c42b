"""The figure of test accuracy by task.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Figures 4 and 5. The band of the 95%
interval is an addition of this study.
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
    """Return the mean test accuracy of each setting after each task, from 0 to 1.

    The columns are those of `by_task`. A setting without a complete run has one row,
    with runs = 0.
    """
    return by_task(frame, {"test_accuracy": "test accuracy (%)"}, all_settings=True)


def draw_accuracy_figure(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the figure of test accuracy by task, with a panel for each problem.

    The name of each setting stands at the right end of its line. In a figure narrower
    than `NARROW`, a legend below the panel shows the names.

    Args:
        data: One study, as `accuracy_by_task` returns it.
        width: The width in inches. None means 7.5.

    Raises:
        UsageError: A problem has more settings than one panel can show (`LINES`).
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
    more = " Bands are cut off at the edge of a panel." if cut else ""
    title = f"Test accuracy after each task, study {data['study'].iloc[0]}"
    draw_title(figure, title, describe_band(data) + more)
    return figure


def draw_accuracy(data: pd.DataFrame, ax: Axes, rates: Sequence[float]) -> None:
    """Draw the test accuracy by task on one problem: a line with a name per setting.

    Args:
        data: Rows of `accuracy_by_task` for one problem.
        ax: The axes. The names need free space to the right of the axes.
        rates: The learning rates, as in `draw_lines`.

    Raises:
        UsageError: The problem has more settings than one panel can show (`LINES`).
    """
    ends = draw_lines(data, "test_accuracy", ax, rates, scale=100, dots=1)
    _set_axes(data, ax)
    if ends:
        label_lines(ax, ends)
    missing = data[data["runs"] == 0]
    if len(missing):
        pairs = zip(missing["label"], missing["diverged"], strict=True)
        names = ", ".join(f"{escape_text(n)} ({count} diverged)" for n, count in pairs)
        text = f"settings without a complete run are not drawn: {names}"
        below: Any = {"xytext": (0, -34), "textcoords": "offset points", "va": "top"}
        ax.annotate(
            text, (0, 0), xycoords="axes fraction", size=8, color="0.35", **below
        )


def _set_axes(data: pd.DataFrame, ax: Axes) -> None:
    """Set the limits, the ticks, the labels and the title of a panel."""
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
    """Return the lower and the upper limit of the accuracy axis, in percent.

    The lines fill at least two fifths of the axis, unless all means are nearly equal.
    With few seeds, a 95% band can be much wider than that and even exceed 100%. The
    parts of a band outside the limits are cut off.
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
    """Return whether a part of a 95% band lies outside the limits of the axes."""
    bottom, top = _limits(data)
    return bool((100 * data["lo"] < bottom).any() or (100 * data["hi"] > top).any())


def label_lines(ax: Axes, ends: Sequence[tuple[float, str, dict[str, Any]]]) -> None:
    """Write the name of each line to the right of the axes, near the end of the line.

    Names that would overlap are moved apart. A thin grey line connects each name to the
    end of its line.

    Args:
        ax: The axes. Their limits must be set before.
        ends: For each line: its last value, its name, and its style as keyword
            arguments of `Axes.plot`.
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
    """Move heights apart until neighbours differ by at least `gap`; return them.

    The heights must be ascending. The sum of the squared moves is as small as possible.
    The result lies within [0, 1] if all heights fit there. For y = z + gap * (0, 1, 2,
    ...), the solution is the isotonic regression of z, clipped to the allowed range.

    >>> spread([0.5, 0.5], 0.25), spread([0.1, 0.9], 0.25), spread([0.0, 0.0], 0.5)
    ([0.375, 0.625], [0.1, 0.9], [0.0, 0.5])
    """
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(heights))
    z = isotonic_regression(np.array(heights) - steps).x
    return list((np.clip(z, 0, max(0, 1 - steps[-1])) + steps).tolist())


FIGURE = Picture(
    title="Accuracy by task (the paper's Figures 4 and 5)",
    meaning="test accuracy by task: a panel per problem, a line per setting (as in "
    "Figures 4 and 5 of Koster & Kukla 2024)",
    columns=("test_accuracy",),
    data=lambda frame, metrics, columns: accuracy_by_task(frame),
    draw=draw_accuracy_figure,
    numbers=functools.partial(by_task_sheets, scale=100, unit=" (%)", digits=".2f"),
    cropped=True,
    line_per_setting=True,
)
