"""Measurements by task: data and drawing of the figures with a line per setting.

A measurement is a column of the records, such as sharpness. Its title comes from the
column's unit, so that a new probe needs no change here.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.lines import (
    describe_band,
    describe_stream,
    draw_line,
    rates_of,
    settings_and_looks,
)
from analysis.figures.picture import Columns
from analysis.figures.style import NARROW, draw_title
from analysis.records.runs import by_problem, by_setting, matrices
from analysis.statistics.intervals import mean_interval
from analysis.tables.formats import Column, Sheet
from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

KEPT = ("problem", "dataset", "optimizer", "lr", "tasks")
"""The columns of a setting that the data has."""

LOGARITHMIC = ("start_sharpness", "sharpness")
"""Measurements drawn on a logarithmic axis: sharpness varies over decades."""

FEW = 24
"""Lines over at most this many tasks have a dot at each."""

LISTED = 11
"""The most tasks that a sheet lists."""


def titles_of(names: Sequence[str], columns: Columns) -> dict[str, str]:
    """Return the titles of panels: the name of a column, and its unit.

    Args:
        names: Columns of the records.
        columns: What the records' files say about their columns.
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
    """Return the mean of measurements after each task, with 95% t-intervals.

    The mean is over the complete runs of a setting. The interval holds at each task by
    itself. A task on which something was not measured has no row.

    Args:
        frame: Records with `analysis.records.runs.NEEDED`, test_accuracy and the
            measurements.
        titles: The measurements, and the title of each; with "%" in it, a fraction is
            drawn in per cent.
        all_settings: Give a setting without a complete run one row: runs = 0, task 0.

    Returns:
        One row per (setting, measure, task): study, setting_id, problem, dataset,
        optimizer, lr, tasks, label, runs, expected, diverged, measure, title, task,
        mean, lo, hi (NaN where there are too few runs).

    Raises:
        UsageError: No setting has a complete run, or nothing was measured.
    """
    settings = [runs for runs in by_setting(frame) if runs.seeds or all_settings]
    parts = []
    for _, group, labels in by_problem(settings):
        measured = matrices(frame, group, list(titles))
        for runs, label, values in zip(group, labels, measured, strict=True):
            row = {
                "study": runs.study,
                "setting_id": runs.setting_id,
                **{name: runs.setting[name] for name in KEPT},
                "label": label,
                "runs": len(runs.seeds),
                "expected": runs.expected,
                "diverged": len(runs.diverged),
            }
            for measure, matrix in values.items():
                tasks = np.flatnonzero(~np.isnan(matrix).any(axis=0))
                tasks = tasks if runs.seeds else tasks[:1]
                columns = {"measure": measure, "title": titles[measure], "task": tasks}
                means = mean_interval(matrix[:, tasks])._asdict()
                parts.append(pd.DataFrame({**row, **columns, **means}))
    if not parts:
        raise UsageError("no setting has a complete run: there is nothing to draw")
    data = pd.concat(parts, ignore_index=True)
    if data.empty:
        raise UsageError(f"none of {', '.join(titles)} was measured")
    return data


def draw_by_task(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `by_task`: a panel for each problem and measurement.

    Args:
        data: The data of one study.
        width: In inches.

    Raises:
        UsageError: A panel would have too many lines.
    """
    from matplotlib.figure import Figure

    width = width or 8.2
    narrow = width < NARROW
    problems = [part for _, part in data.groupby("problem", sort=False)]
    titles = dict(zip(data["measure"], data["title"], strict=True))
    across = min(len(titles), 2 if narrow else 3)
    down = math.ceil(len(titles) / across)
    legends = [
        math.ceil(part["setting_id"].nunique() / _legend_columns(part, width))
        for part in problems
    ]
    heights = [
        0.45 + down * (1.45 if narrow else 1.75) + 0.17 * legend for legend in legends
    ]
    top = 0.0 if narrow else 0.5
    figure = Figure(figsize=(width, sum(heights) + top), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, 1 - top / (sum(heights) + top)))
    blocks = figure.subfigures(len(problems), 1, squeeze=False, height_ratios=heights)
    for block, part in zip(blocks[:, 0], problems, strict=True):
        _draw_block(part, titles, block, (down, across))
    if not narrow:
        draw_title(figure, f"Study {data['study'].iloc[0]}", describe_band(data))
    return figure


def _draw_block(
    part: pd.DataFrame,
    titles: Mapping[str, str],
    block: SubFigure,
    shape: tuple[int, int],
) -> None:
    """Draw the panels of one problem, with their legend below."""
    block.suptitle(describe_stream(part), x=0.01, ha="left", size=9.5, weight="bold")
    grid = block.subplots(*shape, squeeze=False)
    panels = grid.ravel()
    for ax in panels[len(titles) :]:
        ax.remove()
    width = block.get_figure(root=True).get_figwidth()
    small = width < NARROW
    size = 7 if small else 8.5
    for (measure, title), ax in zip(titles.items(), panels, strict=False):
        draw_measure(part, measure, ax)
        ax.set_title(textwrap.fill(title, 24) if small else title, size=size)
        ax.tick_params(labelsize=size, which="both")
    for ax in panels[max(0, len(titles) - shape[1]) : len(titles)]:
        ax.set_xlabel("task")
    handles, labels = max(
        (ax.get_legend_handles_labels() for ax in panels), key=lambda pair: len(pair[1])
    )
    block.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=_legend_columns(part, width),
        frameon=False,
        fontsize=7 if small else 8,
        labelspacing=0.3,
    )


def _legend_columns(part: pd.DataFrame, width: float) -> int:
    """Return how many names of lines stand beside each other in so many inches."""
    inches = 0.06 * part["label"].str.len().max() + 0.6
    return int(np.clip(width // inches, 1, 3))


def draw_measure(part: pd.DataFrame, measure: str, ax: Axes) -> None:
    """Draw one measurement of one problem of `by_task`, a line per setting.

    Raises:
        UsageError: There are too many lines.
    """
    from matplotlib.ticker import LogFormatter, MaxNLocator

    rows = part[(part["measure"] == measure) & (part["runs"] > 0)]
    scale = 100 if "%" in "".join(rows["title"].head(1)) else 1
    for setting, look in settings_and_looks(part, rates_of(part)):
        own = rows[rows["setting_id"] == setting["setting_id"]]
        if len(own):
            draw_line(own, ax, look, scale=scale, dots=FEW)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if rows.empty:
        ax.annotate("no data", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return
    mean = scale * rows["mean"].to_numpy(dtype=float)
    low, high = float(mean.min()), float(mean.max())
    if measure in LOGARITHMIC and low > 0:
        ax.set_yscale("log")
        # powers of ten take too much room, and there are few of them
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter())
        ax.set_ylim(low / 1.6, high * 1.6)
        return
    # show all lines, and of the bands what is near them
    room = max(0.3 * (high - low), 0.02 * abs(high), 1e-9)
    top = min(100.5, high + room) if scale == 100 else high + room
    ax.set_ylim(max(0.0, low - room), top)


def by_task_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return the numbers of `by_task` as a sheet for each problem and measurement.

    A long stream is listed at `LISTED` tasks from its start to its end.
    """
    return [
        task_sheet(f"{problem}: {str(measure).replace('_', ' ')}", part, 1, ".4g")
        for (problem, measure), part in data.groupby(["problem", "measure"], sort=False)
    ]


def task_sheet(title: str, data: pd.DataFrame, scale: float, digits: str) -> Sheet:
    """Return the means ± half their intervals: a row per task, a column per setting."""
    settings = data.drop_duplicates("setting_id")
    names = dict(zip(settings["setting_id"], settings["label"], strict=True))
    tasks = sorted(set(data["task"].tolist()))
    if len(tasks) > LISTED:
        places = np.linspace(0, len(tasks) - 1, LISTED).round().astype(int)
        tasks = [tasks[place] for place in places]
    cells = {
        (row["task"], row["setting_id"]): mean_and_half(row, scale, digits)
        for row in data[data["task"].isin(tasks)].to_dict("records")
    }
    columns = [Column("task", right=True)]
    columns += [Column(str(name), right=True) for name in names.values()]
    rows = [
        [str(task), *(cells.get((task, name), "n/a") for name in names)]
        for task in tasks
    ]
    return Sheet(title, "mean ± half of its 95% t-interval", columns, rows, [])


def mean_and_half(row: Mapping[Any, Any], scale: float, digits: str) -> str:
    """Return mean ± half the interval of a row with mean, lo and hi.

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
    if mean.startswith("-") and not float(mean):
        mean = mean[1:]
    return f"{mean} ± {width}"
