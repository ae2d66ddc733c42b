"""Data and drawing of the figures that show measurements by task, a line per setting.

A measurement is a column of the records, for example sharpness. The title of a panel
comes from the name and the unit of the column. So a new measurement needs no change in
this module.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.figures.labels import End, label_ends, names_fit
from analysis.figures.picture import (
    COLOURS,
    NARROW,
    SPARE,
    Columns,
    Heading,
    Picture,
    escape_text,
    text_width,
    wrap_text,
)
from analysis.records.runs import Runs, by_problem, by_setting, matrices
from analysis.statistics.intervals import Interval, Reals, mean_interval
from analysis.statistics.metrics import MEASURE, MEASURES
from analysis.tables.formats import Column, Sheet
from analysis.tables.words import count_range, too_many
from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# The columns of the setting that `by_task` copies into its result.
KEPT = ("problem", "dataset", "optimizer", "lr", "tasks")

LOGARITHMIC = ("start_sharpness", "sharpness")
"""Measurements on a logarithmic axis, because sharpness spans several powers of 10."""

FEW = 24  # a line over at most this many tasks has a dot at each task
LISTED = 11  # the maximum number of tasks in a table of numbers

SEEDS = 10
"""With fewer seeds, a thin line shows each seed."""

LONG = 60
"""Curves over more tasks are smoothed: the noise of single tasks would hide them."""

WINDOW = 0.05
"""The share of the tasks in the moving mean of a smoothed curve."""

LINES = 12
"""The maximum number of lines in a panel. Readers cannot tell more lines apart."""

SERIES = (*COLOURS.values(), *SPARE[:-1])
"""Colours for settings when a colour cannot stand for one optimizer.

The last colour of `SPARE`, yellow, is left out because it is too pale for a line.
"""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


@attrs.frozen(kw_only=True)
class Kind:
    """What the curves of a figure are."""

    signed: bool = False  # whether they are differences, so that zero has a line
    most: int = LINES  # the maximum number of lines in a panel
    band: str = "95% t-interval at each task"
    note: str = ""  # a sentence that explains the figure


BY_TASK = Kind()


def titles_of(names: Sequence[str], columns: Columns) -> dict[str, str]:
    """Return the title of each panel: the name of a column in words, and its unit.

    Args:
        names: The columns of the records to show.
        columns: The descriptions of all columns of the records, which have the units.
    """
    titles = {}
    for name in names:
        words = name.replace("_", " ")
        if name.startswith("start_"):
            words = f"{words.removeprefix('start ')} before the task"
        unit = "%" if columns[name].unit == "fraction" else columns[name].unit
        titles[name] = f"{words} ({unit})" if unit else words
    return titles


def by_task(
    frame: pd.DataFrame, titles: Mapping[str, str], *, all_settings: bool = False
) -> pd.DataFrame:
    """Return the mean of each measurement after each task, with its 95% t-interval.

    The mean is over the complete runs of a setting. A run is complete if it finished
    all tasks and did not diverge. Each interval is valid for its task only, not for the
    whole line. If a run has no measurement at a task, the task has no row. A curve over
    more than `LONG` tasks is smoothed.

    Args:
        frame: Records with the columns of `analysis.records.runs.NEEDED`, and the
            measurements. The first one tells which runs are complete if it is a
            measure of `analysis.statistics.metrics`; otherwise test_accuracy does.
        titles: The title of each measurement, by its column, with the unit in brackets.
            If the unit is "%" or "pp", figures show the fractions times 100.
        all_settings: Whether a setting without a complete run has one row, with
            runs = 0 and task = 0. If False, it has no row.

    Returns:
        One row per (setting, measure, task), with the columns study, setting_id,
        problem, dataset, optimizer, lr, tasks, label, runs, expected, diverged,
        measure, title, and those of `curve`.

    Raises:
        UsageError: No setting has a complete run, or the measurements were not made.
    """
    first = next(iter(titles))
    settings = by_setting(frame, first if first in MEASURES else MEASURE)
    settings = [runs for runs in settings if runs.seeds or all_settings]
    parts = []
    for _, group, labels in by_problem(settings):
        measured = matrices(frame, group, list(titles))
        for runs, label, values in zip(group, labels, measured, strict=True):
            row = describe_runs(runs, label)
            for measure, matrix in values.items():
                tasks = np.flatnonzero(~np.isnan(matrix).any(axis=0))
                tasks = tasks if runs.seeds else tasks[:1]
                columns = {"measure": measure, "title": titles[measure]}
                points = curve(matrix, tasks)
                parts.append(pd.DataFrame({**row, **columns, **points}))
    if not parts:
        raise UsageError(
            "no setting has a complete run (all tasks finished, not diverged), so the "
            "figure would be empty: run the study again to finish its runs"
        )
    data = pd.concat(parts, ignore_index=True)
    if data.empty:
        raise UsageError(
            f"the figure would be empty, because none of {', '.join(titles)} was "
            "measured: choose another figure (python -m analysis figure --list)"
        )
    return in_stream(data, frame)


def in_stream(data: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return curves with the numbers that their tasks have in the stream.

    In records of some tasks of the stream (the option --tasks), the first one has the
    number 0.
    """
    return data.assign(task=data["task"] + frame.attrs.get("first_task", 0))


def describe_runs(runs: Runs, label: str) -> dict[str, Any]:
    """Return the columns of `by_task` that describe a setting."""
    return {
        "study": runs.study,
        "setting_id": runs.setting_id,
        **{name: runs.setting[name] for name in KEPT},
        "label": label,
        "runs": len(runs.seeds),
        "expected": runs.expected,
        "diverged": len(runs.diverged),
    }


def curve(
    matrix: Reals,
    tasks: npt.NDArray[np.integer],
    interval: Callable[[Reals], Interval] = mean_interval,
) -> dict[str, Any]:
    """Return the columns of `by_task` that describe a curve over some tasks.

    Args:
        matrix: A measurement of each run after each task, shape (runs, all tasks).
        tasks: The tasks that were measured.
        interval: Returns the mean and its interval at each task.

    Returns:
        The columns task, mean, lo, hi, window and seed_values. lo and hi are the ends
        of the interval; they are NaN if there are fewer than two runs. window is the
        number of measured tasks in the moving mean of each run, 1 if the curve is not
        smoothed. seed_values has the value of each run in the order of their seeds if
        there are fewer than `SEEDS` runs, and is empty if there are more.
    """
    window = window_of(len(tasks))
    values = smooth(matrix[:, tasks], window)
    few = 1 < len(values) < SEEDS
    return {
        "task": tasks,
        **interval(values)._asdict(),
        "window": window,
        "seed_values": [tuple(column) if few else () for column in values.T.tolist()],
    }


def window_of(tasks: int) -> int:
    """Return the number of tasks in the moving mean: odd, or 1 for a short stream.

    >>> window_of(60), window_of(100), window_of(800)
    (1, 5, 41)
    """
    return 1 if tasks <= LONG else 2 * int(WINDOW * tasks / 2) + 1


def smooth(values: Reals, window: int) -> Reals:
    """Return the centred moving mean of each row, over fewer tasks at the two ends.

    >>> smooth(np.array([[0.0, 3.0, 6.0, 0.0]]), 3).tolist()
    [[1.5, 3.0, 3.0, 3.0]]
    """
    if window == 1:
        return values
    rolling = pd.DataFrame(values.T).rolling(window, center=True, min_periods=1)
    return np.asarray(rolling.mean().to_numpy().T)


def draw_by_task(
    data: pd.DataFrame, width: float | None = None, kind: Kind = BY_TASK
) -> Figure:
    """Return a figure with a panel for each problem and each measurement.

    If there is a single measurement and room, the names of the settings stand at the
    ends of their lines. Otherwise a legend below the panels shows them.

    Args:
        data: One study, as `by_task` returns it.
        width: The width in inches. None means 7.5 for one measurement, otherwise 8.2.
        kind: What the curves are.

    Raises:
        UsageError: A problem has more settings than one panel can show.
    """
    from matplotlib.figure import Figure

    titles = dict(zip(data["measure"], data["title"], strict=True))
    width = width or (7.5 if len(titles) == 1 else 8.2)
    problems = [part for _, part in data.groupby("problem", sort=False)]
    blocks = [Block.arrange(part, titles, width) for part in problems]
    head = _heading(data, titles, width, kind)
    inches = [block.inches for block in blocks]
    height = sum(inches) + head.inches
    figure = Figure(figsize=(width, height), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, sum(inches) / height))
    places = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=inches)
    for place, block in zip(places[:, 0], blocks, strict=True):
        _draw_block(block, place, rates_of(data), kind)
    head.draw(figure)
    return figure


@attrs.frozen(kw_only=True, eq=False)
class Block:
    """The arrangement of the panels of one problem. All lengths are in inches."""

    part: pd.DataFrame  # rows of `by_task` for the problem
    titles: Mapping[str, str]  # of the panels, by measurement
    width: float  # of the figure
    at_ends: bool  # whether the names stand at the ends of the lines
    columns: int  # of the legend

    @classmethod
    def arrange(
        cls, part: pd.DataFrame, titles: Mapping[str, str], width: float
    ) -> Block:
        """Arrange the panels in a figure of `width` inches."""
        size = 7 if width < NARROW else 8.5
        names = [
            _name(row) for row in part.drop_duplicates("setting_id").to_dict("records")
        ]
        tall = 1.3 if width < NARROW else 2.1
        across = max(text_width(name, size) for name in names) + 0.5
        return cls(
            part=part,
            titles=titles,
            width=width,
            at_ends=len(titles) == 1 and names_fit(names, size, (width, tall)),
            columns=int(np.clip((width - 0.1) // across, 1, 4)),
        )

    @property
    def size(self) -> float:
        """The size of the font of names and ticks in points."""
        return 7 if self.width < NARROW else 8.5

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
        """The smallest height of the axes of a panel."""
        narrow = self.width < NARROW
        if len(self.titles) == 1:
            return 1.3 if narrow else 2.1
        return 0.95 if narrow else 1.25

    @property
    def inches(self) -> float:
        """The height of the block."""
        count = self.part["setting_id"].nunique()
        legend = 0 if self.at_ends else 0.1 + 0.18 * math.ceil(count / self.columns)
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
                title = f"{describe_stream(self.part)}: {title}"
            if len(self.titles) == 1 or len(set(windows.values())) > 1:
                title += _moving_mean({windows[name]})
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
    """Draw the panels of one problem, with a common legend if names are not at lines.

    Args:
        block: The panels.
        place: The part of the figure to draw on.
        rates: The learning rates, as in `line_looks`.
        kind: What the curves are.
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


def draw_measure(
    part: pd.DataFrame,
    measure: str,
    ax: Axes,
    rates: Sequence[float] | None = None,
    kind: Kind = BY_TASK,
) -> list[End]:
    """Draw one measurement by task on axes: a line for each setting.

    Args:
        part: Rows of `by_task` for one problem.
        measure: The measurement to draw.
        ax: The axes to draw on.
        rates: The learning rates, as in `line_looks`; None means those of `part`.
        kind: What the curves are.

    Returns:
        The ends of the lines.

    Raises:
        UsageError: `part` has more than `kind.most` settings.
    """
    from matplotlib.ticker import LogFormatter, MaxNLocator

    if (count := part["setting_id"].nunique()) > kind.most:
        raise too_many(count, f"settings of {part['problem'].iloc[0]}", kind.most)
    panel = Panel(part=part[part["measure"] == measure], kind=kind)
    rates = rates_of(part) if rates is None else rates
    if kind.signed:
        ax.axhline(0, color="0.35", linewidth=0.8)
    ends = draw_lines(panel, part, ax, rates)
    first, last = int(part["task"].min()), int(part["task"].max())
    if last > first:
        room = 0.01 * (last - first)
        ax.set_xlim(first - room, last + room)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    else:
        ax.set_xticks([first])
    if not ends:
        ax.set_yticks([])
        ax.annotate("no data", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return ends
    if panel.logarithmic:
        ax.set_yscale("log")
        # Write 20 and not 2 x 10^1, which is wider. Label the minor ticks too, because
        # the axis has few powers of ten.
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter())
    ax.set_ylim(panel.limits)
    return ends


@attrs.frozen(kw_only=True, eq=False)
class Panel:
    """The rows of a panel, and the axis that fits them."""

    part: pd.DataFrame  # rows of `by_task` for one problem and one measurement
    kind: Kind

    @property
    def scale(self) -> float:
        """The factor for all numbers; see `scale_of`."""
        return scale_of("".join(self.part["title"].head(1)))

    @property
    def drawn(self) -> pd.DataFrame:
        """The rows of settings with complete runs."""
        return self.part[self.part["runs"] > 0]

    @functools.cached_property
    def lines(self) -> Reals:
        """All values of lines, in the unit of the axis."""
        seeds = list(itertools.chain.from_iterable(self.drawn["seed_values"]))
        return self.scale * np.array([*self.drawn["mean"], *seeds], dtype=float)

    @property
    def logarithmic(self) -> bool:
        """Whether the axis is logarithmic."""
        names = set(self.drawn["measure"])
        return bool(names and names <= set(LOGARITHMIC) and self.lines.min() > 0)

    @functools.cached_property
    def wide(self) -> frozenset[str]:
        """The setting_ids whose bands are left out, because they would fill the axis.

        A band is left out if half of its width is over a third of the axis at any task.
        """
        limits = self._limits(self._ends(self.drawn))
        wide = set()
        for name, own in self.curves():
            ends = np.array([limits, *self._ends(own)])
            if self.logarithmic:
                ends = np.log(np.maximum(ends, 1e-300))
            axis, *widths = ends[:, 1] - ends[:, 0]
            if np.max(widths) / 2 > axis / 3:  # false if there is no band (NaN)
                wide.add(name)
        return frozenset(wide)

    @functools.cached_property
    def limits(self) -> tuple[float, float]:
        """The limits of the axis, in its unit, which contain all lines.

        A band can be much wider than the lines. The axis shows it up to three quarters
        of the range of the lines, and the rest is cut off.
        """
        return self._limits(
            self._ends(self.drawn[~self.drawn["setting_id"].isin(self.wide)])
        )

    def _limits(self, bands: Reals) -> tuple[float, float]:
        """Return the limits for bands, shape (points, 2)."""
        lines = self.lines
        if not len(lines):
            return 0.0, 1.0
        if self.logarithmic:
            return float(lines.min()) / 1.6, float(lines.max()) * 1.6
        low, high = float(lines.min()), float(lines.max())
        if self.kind.signed:
            low, high = min(low, 0.0), max(high, 0.0)
        room = max(high - low, 0.01 * abs(high), 2e-9)
        below = np.fmin.reduce([*bands[:, 0], low])
        above = np.fmax.reduce([*bands[:, 1], high])
        bottom = low - float(np.clip(1.05 * (low - below), 0.1 * room, 0.75 * room))
        top = high + float(np.clip(1.05 * (above - high), 0.1 * room, 0.75 * room))
        if self.kind.signed:
            return bottom, top
        bottom = bottom if low < 0 else max(0.0, bottom)
        return bottom, min(100.5, top) if self.scale == 100 else top

    def is_cut(self, own: pd.DataFrame) -> bool:
        """Return whether a part of the band of a setting lies outside the axis."""
        ends = self._ends(own)
        return bool(
            (ends[:, 0] < self.limits[0]).any() | (ends[:, 1] > self.limits[1]).any()
        )

    def _ends(self, own: pd.DataFrame) -> Reals:
        return self.scale * own[["lo", "hi"]].to_numpy(dtype=float)

    def curves(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the ID and the rows of each setting with complete runs."""
        for name, own in self.drawn.groupby("setting_id", sort=False):
            yield str(name), own


def scale_of(title: str) -> float:
    """Return the factor for numbers with the unit of a title.

    >>> scale_of("accuracy (%)"), scale_of("difference (pp)"), scale_of("loss (nats)")
    (100, 100, 1)
    """
    return 100 if title.endswith(("(%)", "(pp)")) else 1


def line_looks(
    settings: Sequence[tuple[str, float]], rates: Sequence[float]
) -> list[dict[str, Any]]:
    """Return the colour and the dashes of each setting's line. All lines differ.

    The colour shows the optimizer, and the dashes show the learning rate. If two
    settings have the same optimizer and learning rate, this is not possible. It is also
    not possible if there are too many optimizers or learning rates. In these two cases,
    each setting gets the next free combination of colour and dashes.

    Args:
        settings: The optimizer and the learning rate of each setting. At most `LINES`.
        rates: All learning rates. The first rate gets the first entry of `DASHES`.

    Returns:
        For each setting, keyword arguments of `Axes.plot`.
    """
    others = [name for name, _ in settings if name not in COLOURS]
    colours = COLOURS | dict(zip(dict.fromkeys(others), SPARE, strict=False))
    unique = len(set(settings)) == len(settings)
    known = all(name in colours for name, _ in settings)
    if unique and known and len(rates) <= len(DASHES):
        looks = [(DASHES[rates.index(lr)], colours[name]) for name, lr in settings]
    else:
        looks = list(itertools.product(DASHES, SERIES))[: len(settings)]
    return [{"color": c, "linestyle": d, "linewidth": 1.4} for d, c in looks]


def rates_of(data: pd.DataFrame) -> list[float]:
    """Return the learning rates of settings with complete runs, largest first."""
    return sorted(set(_rates(data.loc[data["runs"] > 0])), reverse=True)


def _rates(data: pd.DataFrame) -> list[float]:
    """Return the learning rate of each row; 0 if it is unknown."""
    rates: list[float] = data["lr"].astype(float).fillna(0.0).tolist()
    return rates


def draw_lines(
    panel: Panel, part: pd.DataFrame, ax: Axes, rates: Sequence[float]
) -> list[End]:
    """Draw each setting with complete runs: its mean, its seeds and its 95% band.

    A band that would fill the axis is left out.

    Args:
        panel: The rows to draw.
        part: The rows of all measurements, so that a setting looks the same in all.
        ax: The axes to draw on.
        rates: The learning rates, as in `line_looks`. Use the same rates for all panels
            of a figure, so that a setting looks the same in all panels.

    Returns:
        The ends of the lines.
    """
    from matplotlib.collections import LineCollection

    chosen = part[part["runs"] > 0].drop_duplicates("setting_id")
    settings = chosen.to_dict("records")
    pairs = list(zip(chosen["optimizer"], _rates(chosen), strict=True))
    rows, ends = dict(panel.curves()), []
    for setting, look in zip(settings, line_looks(pairs, rates), strict=True):
        own = rows.get(setting["setting_id"])
        if own is None:
            continue
        name, task = _name(setting), own["task"].to_numpy()
        band = panel.scale * own[["mean", "lo", "hi"]].to_numpy(dtype=float)
        marker = "o" if len(own) <= FEW else None
        ax.plot(task, band[:, 0], label=name, marker=marker, markersize=2.5, **look)
        colour = look["color"]
        seeds = panel.scale * np.array(own["seed_values"].tolist(), dtype=float)
        lines = [np.column_stack([task, seed]) for seed in seeds.T]
        ax.add_collection(
            LineCollection(lines, colors=colour, linewidths=0.5, alpha=0.35)
        )
        if setting["setting_id"] not in panel.wide:
            ax.fill_between(task, *band[:, 1:].T, color=colour, alpha=0.1, lw=0)
        if len(own) == 1:  # A band over one task has no width: draw a vertical line.
            ax.vlines(task, *band[:, 1:].T, color=colour, lw=0.8)
        ends.append(End(float(band[-1, 0]), name, look))
    return ends


def _moving_mean(windows: Collection[int]) -> str:
    """Return the end of a title that says the window, if it is the same everywhere."""
    (window, *others) = windows
    return "" if others or window == 1 else f", moving mean over {window} tasks"


def _name(setting: Mapping[Any, Any]) -> str:
    """Return the name of a line: the label, and how many of its runs are complete."""
    name = escape_text(setting["label"])
    if setting["runs"] < setting["expected"]:
        name += f" ({setting['runs']} of {setting['expected']})"
    return name


def describe_stream(data: pd.DataFrame) -> str:
    """Return the heading of one problem, as in "permuted (mnist, 100 tasks)"."""
    sets = ", ".join(sorted(set(data["dataset"])))
    lengths = " or ".join(map(str, sorted(set(data["tasks"]))))
    plural = "" if lengths == "1" else "s"
    problem = data["problem"].iloc[0]
    return escape_text(f"{problem} ({sets}, {lengths} task{plural})")


def _heading(
    data: pd.DataFrame, titles: Mapping[str, str], width: float, kind: Kind
) -> Heading:
    """Return the heading of a figure: its study, its lines, and what it leaves out."""
    study = data["study"].iloc[0]
    title = f"Study {study}"
    if len(titles) == 1:
        words = next(iter(titles.values())).partition(" (")[0]
        title = f"{words[0].upper()}{words[1:]} by task, study {study}"
    sentences = [kind.note, describe_lines(data, kind)]
    panels = [
        Panel(part=part, kind=kind)
        for _, part in data.groupby(["problem", "measure"], sort=False)
    ]
    if any(panel.wide for panel in panels):
        sentences.append("Bands wider than two thirds of a panel are left out.")
    if any(
        panel.is_cut(own)
        for panel in panels
        for name, own in panel.curves()
        if name not in panel.wide
    ):
        sentences.append("Bands are cut off at the edge of a panel.")
    if (data["lo"].isna() & (data["runs"] > 1)).any():
        sentences.append("No band: a run of the setting or of its baseline diverged.")
    missing = data[data["runs"] == 0]
    for problem, part in missing.groupby("problem", sort=False):
        pairs = zip(part["label"], part["diverged"], strict=True)
        names = ", ".join(f"{name} ({count} diverged)" for name, count in pairs)
        text = f"{problem}, not drawn because no run is complete: {names}."
        sentences.append(escape_text(text))
    return Heading(title, " ".join(filter(None, sentences)), width)


def describe_lines(data: pd.DataFrame, kind: Kind = BY_TASK) -> str:
    """Return a sentence that explains the lines and the bands of a figure."""
    counts = set(data.loc[data["runs"] > 0, "runs"])
    if not counts:
        return "No setting has a complete run."
    if counts == {1}:
        return "One run per setting, so there is no interval."
    text = f"Line: mean over {count_range(counts)} seeds. Band: {kind.band}."
    return f"{text} Thin lines: single seeds." if min(counts) < SEEDS else text


def by_task_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a table of means and their intervals for each problem and measurement.

    A table has a row per task and a column per setting. A table shows at most `LISTED`
    tasks, at equal distances from the first task to the last task.

    Args:
        data: As `by_task` returns it.
    """
    sheets = []
    groups = data.groupby(["problem", "title"], sort=False)
    for (problem, title), part in groups:
        scale = scale_of(str(title))
        digits = ".2f" if scale == 100 else ".4g"
        cells = [mean_and_half(row, scale, digits) for row in part.to_dict("records")]
        table = part.assign(cell=cells).pivot_table(
            "cell", "task", "setting_id", aggfunc="first"
        )
        labels = part.drop_duplicates("setting_id").set_index("setting_id")["label"]
        table = table[labels.index].fillna("n/a")
        if len(table) > LISTED:
            places = np.linspace(0, len(table) - 1, LISTED).round().astype(int)
            table = table.iloc[places]
        columns = [Column(str(name), right=True) for name in ("task", *labels)]
        rows = [[str(task), *row] for task, *row in table.itertuples()]
        caption = (
            "mean over the seeds ± half of its 95% interval; n/a: not measured, or too "
            "few seeds"
        )
        if (window := part["window"].max()) > 1:
            caption += f"; each number is a moving mean over {window} tasks"
        sheets.append(Sheet(f"{problem}: {title}", caption, columns, rows, []))
    return sheets


def mean_and_half(row: Mapping[Any, Any], scale: float, digits: str) -> str:
    """Return the mean and half of its interval as text, from a row of `by_task`.

    The row needs the entries mean, lo and hi, which are multiplied by `scale`. `digits`
    is the format of the numbers.

    >>> mean_and_half({"mean": 0.5, "lo": 0.4, "hi": 0.6}, 100, ".2f")
    '50.00 ± 10.00'
    >>> mean_and_half({"mean": 0.5, "lo": np.nan, "hi": np.nan}, 1, ".4g")
    '0.5 ± n/a'
    """
    if pd.isna(row["mean"]):
        return "n/a"
    half = scale * (row["hi"] - row["lo"]) / 2
    width = "n/a" if pd.isna(half) else format(half, digits)
    mean = format(scale * row["mean"], digits)
    if not float(mean):
        mean = mean.removeprefix("-")
    return f"{mean} ± {width}"


def picture_by_task(title: str, meaning: str, shown: Sequence[str]) -> Picture:
    """Return the figure that shows the columns `shown` by task, a panel per column."""
    return Picture(
        title=title,
        meaning=meaning,
        columns=tuple(dict.fromkeys(("test_accuracy", *shown))),
        data=lambda frame, view, columns: by_task(frame, titles_of(shown, columns)),
        draw=draw_by_task,
        numbers=by_task_sheets,
        line_per_setting=True,
    )
