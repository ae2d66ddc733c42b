"""The figure of test accuracy by task.

Source: Koster & Kukla 2024 (arXiv 2409.17300), Figures 4 and 5; the band is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.by_task import by_task, draw_by_task, task_sheet
from analysis.figures.lines import (
    describe_band,
    describe_stream,
    draw_line,
    label_lines,
    rates_of,
    setting_name,
    settings_and_looks,
)
from analysis.figures.picture import Picture
from analysis.figures.style import NARROW, draw_title, escape_text
from analysis.tables.formats import Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `by_task` of test accuracy, in fractions, with a row for every setting.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
    """
    return by_task(frame, {"test_accuracy": "test accuracy (%)"}, all_settings=True)


def draw_accuracy_figure(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `accuracy_by_task`, a panel per problem.

    Lines are named at their ends; in a figure narrower than `NARROW` below the panel.

    Args:
        data: The data of one study.
        width: In inches.

    Raises:
        UsageError: A panel would have too many lines.
    """
    from matplotlib.figure import Figure

    if width is not None and width < NARROW:
        return draw_by_task(data, width)
    panels = [part for _, part in data.groupby("problem", sort=False)]
    figure = Figure(figsize=(width or 7.5, 0.6 + 3.1 * len(panels)))
    height = figure.get_figheight()
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


def draw_accuracy(
    data: pd.DataFrame, ax: Axes, rates: Sequence[float] | None = None
) -> None:
    """Draw one problem of `accuracy_by_task`, a line per setting, named at its end.

    Args:
        data: Rows of one study and problem.
        ax: The axes, with room for names at the right.
        rates: The learning rates in the order of their dashes; those drawn if None.
            Panels that share them show equal settings alike.

    Raises:
        UsageError: There are too many lines.
    """
    ends = []
    looks = settings_and_looks(data, rates_of(data) if rates is None else rates)
    for setting, look in looks:
        part = data[data["setting_id"] == setting["setting_id"]]
        draw_line(part, ax, look, scale=100, dots=1)
        ends.append((100 * part["mean"].iloc[-1], setting_name(setting), look))
    _set_axes(data, ax)
    label_lines(ax, ends)
    missing = data.drop_duplicates("setting_id").query("runs == 0")
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


def accuracy_numbers(data: pd.DataFrame) -> list[Sheet]:
    """Return a sheet per problem of `accuracy_by_task`, in per cent."""
    return [
        task_sheet(f"{problem}: test accuracy (%)", part, 100, ".2f")
        for problem, part in data.groupby("problem", sort=False)
    ]


FIGURE = Picture(
    title="Accuracy by task (Figures 4 and 5)",
    meaning="test accuracy by task: a panel per problem, a line per setting "
    "(Figures 4 and 5)",
    columns=("test_accuracy",),
    data=lambda frame, metrics, columns: accuracy_by_task(frame),
    draw=draw_accuracy_figure,
    numbers=accuracy_numbers,
    cropped=True,
    line_per_setting=True,
)
