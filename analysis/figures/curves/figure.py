"""A figure by task: a panel for each problem and measurement, with named lines."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from analysis.figures.curves.data import by_task, titles_of
from analysis.figures.curves.heading import make_heading
from analysis.figures.curves.looks import rates_of
from analysis.figures.curves.panel import BY_TASK, LINES, Kind, draw_measure, name_line
from analysis.figures.curves.sheets import by_task_sheets
from analysis.figures.labels import label_ends, names_fit
from analysis.figures.picture import (
    NARROW,
    Picture,
    describe_stream,
    legend_columns,
    text_size,
    text_width,
    wrap_text,
)
from analysis.statistics.metrics import MEASURE


def draw_by_task(
    data: pd.DataFrame, width: float | None = None, kind: Kind = BY_TASK
) -> Figure:
    """Return a figure with a panel for each problem and each measurement.

    If there is a single measurement and the names of the settings have room, each name
    stands at the end of its line. Otherwise a legend below the panels shows the names.
    `data` is one study, as `by_task` returns it.

    Raises:
        UsageError: A problem has more settings than one panel can show.
    """
    titles = dict(zip(data["measure"], data["title"], strict=True))
    width = width or (7.5 if len(titles) == 1 else 8.2)
    problems = [part for _, part in data.groupby("problem", sort=False)]
    blocks = [Block(part=part, titles=titles, width=width) for part in problems]
    head = make_heading(data, titles, width, kind)
    inches = [block.inches for block in blocks]
    figure = head.make_figure(sum(inches))
    places = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=inches)
    for place, block in zip(places[:, 0], blocks, strict=True):
        _draw_block(block, place, rates_of(data), kind)
    head.draw(figure)
    return figure


@attrs.frozen(kw_only=True, eq=False)
class Block:
    """The arrangement of the panels of one problem. All lengths are in inches."""

    part: pd.DataFrame  # rows of `by_task` for the problem
    titles: Mapping[str, str]  # the titles of the panels, by measurement
    width: float  # the width of the figure

    @functools.cached_property
    def names(self) -> list[str]:
        """The names of the lines."""
        settings = self.part.drop_duplicates("setting_id").to_dict("records")
        return [name_line(setting) for setting in settings]

    @property
    def at_ends(self) -> bool:
        """Whether the names stand at the ends of the lines."""
        room = self.width, self.axes_inches
        return len(self.titles) == 1 and names_fit(self.names, self.size, room)

    @property
    def columns(self) -> int:
        """The number of columns of the legend."""
        widest = max(text_width(name, self.size) for name in self.names) + 0.5
        return legend_columns(len(self.names), widest, self.width)

    @property
    def size(self) -> float:
        """The size of the font of names and ticks in points."""
        return text_size(self.width)

    @property
    def across(self) -> int:
        """The number of panels side by side."""
        return min(len(self.titles), 2 if self.width < NARROW else 3)

    @property
    def down(self) -> int:
        """The number of panels below each other."""
        return math.ceil(len(self.titles) / self.across)

    @property
    def axes_inches(self) -> float:
        """The smallest height of the axes of a panel, in inches."""
        narrow = self.width < NARROW
        if len(self.titles) == 1:
            return 1.3 if narrow else 2.1
        return 0.95 if narrow else 1.25

    @property
    def inches(self) -> float:
        """The height of the block."""
        rows = math.ceil(len(self.names) / self.columns)
        legend = 0 if self.at_ends else 0.1 + 0.18 * rows
        lines = max(title.count("\n") + 1 for title in self.panel_titles.values())
        room = 0.3 + 0.16 * lines
        return 0.45 + self.down * (self.axes_inches + room) + legend

    @property
    def head(self) -> str:
        """The title above several panels; empty if there is one panel."""
        if len(self.titles) == 1:
            return ""
        windows = set(self._windows.values())
        text = f"{describe_stream(self.part)}{_moving_mean(windows)}"
        return wrap_text(text, self.width - 0.3, 9.5, bold=True)

    @functools.cached_property
    def panel_titles(self) -> dict[str, str]:
        """The title of each panel by measurement: what it shows, and the unit."""
        titles, windows = {}, self._windows
        for name, title in self.titles.items():
            if len(self.titles) == 1:
                mean = _moving_mean({windows[name]})
                title = f"{describe_stream(self.part)}: {title}{mean}"
            elif len(set(windows.values())) > 1 and windows[name] > 1:
                # Narrow panels have room for few words.
                title += f", {windows[name]}-task mean"
            room = self.width / self.across - 0.55
            titles[name] = wrap_text(title, room, self.title_size)
        return titles

    @property
    def _windows(self) -> dict[str, int]:
        """The window of each measurement; see `curve`."""
        windows = self.part.groupby("measure")["window"].max()
        return {name: int(windows.get(name, 1)) for name in self.titles}

    @property
    def title_size(self) -> float:
        """The size of the font of the titles of panels in points."""
        return 9.5 if self.width >= NARROW and len(self.titles) == 1 else self.size


def _draw_block(
    block: Block, place: SubFigure, rates: Sequence[float], kind: Kind
) -> None:
    """Draw the panels of one problem, with a legend if no names are at the lines.

    `rates` are the learning rates, as in `line_looks`.
    """
    if block.head:
        place.suptitle(block.head, x=0.01, ha="left", size=9.5, weight="bold")
    panels = place.subplots(block.down, block.across, squeeze=False).ravel()
    for ax in panels[len(block.titles) :]:
        ax.remove()
    panels = panels[: len(block.titles)]
    for (measure, title), ax in zip(block.panel_titles.items(), panels, strict=True):
        ends = draw_measure(block.part, measure, ax, rates, kind)
        ax.set_title(title, size=block.title_size)
        ax.tick_params(labelsize=block.size, which="both")
        if block.at_ends and ends:
            label_ends(ax, ends, block.size, block.axes_inches)
    if kind.one_scale:
        _share_scales(list(panels), list(block.titles.values()))
    for ax in panels[-block.across :]:
        ax.set_xlabel("task", size=block.size)
    legends = [ax.get_legend_handles_labels() for ax in panels]
    if not block.at_ends:
        place.legend(
            *max(legends, key=lambda legend: len(legend[1])),
            loc="outside lower left",
            ncols=block.columns,
            frameon=False,
            fontsize=min(block.size, 8),
            labelspacing=0.3,
            columnspacing=1,
            handlelength=1.8,
        )


def _moving_mean(windows: Collection[int]) -> str:
    """Return the part of a title that names the window of the moving mean.

    It is empty if the windows differ, or if the mean is over one task.
    """
    window, *others = windows
    return "" if others or window == 1 else f", moving mean over {window} tasks"


def _share_scales(panels: Sequence[Axes], titles: Sequence[str]) -> None:
    """Give the panels whose titles have the same unit the same limits."""
    units = [title.rpartition("(")[2] for title in titles]
    for unit in set(units):
        pairs = zip(panels, units, strict=True)
        same = [ax for ax, own in pairs if own == unit and ax.lines]
        limits = np.array([ax.get_ylim() for ax in same])
        for ax in same:
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def picture_by_task(title: str, meaning: str, shown: Sequence[str]) -> Picture:
    """Return the figure that shows the columns `shown` by task, a panel per column."""
    return Picture(
        title=title,
        meaning=meaning,
        columns=tuple(shown),
        data=lambda frame, view, columns: by_task(frame, titles_of(shown, columns)),
        draw=draw_by_task,
        numbers=by_task_sheets,
        most=LINES,
        needs_labels=MEASURE in shown,
    )
