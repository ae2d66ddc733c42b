"""Data and drawing of the figures that show measurements by task, a line per setting.

A measurement is a column of the records, for example sharpness. The title of a panel
comes from the name and the unit of the column. So a new measurement needs no change in
this module.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.picture import (
    COLOURS,
    NARROW,
    SPARE,
    Columns,
    Picture,
    draw_title,
    escape_text,
)
from analysis.records.runs import by_problem, by_setting, matrices
from analysis.statistics.intervals import mean_interval
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

LINES = 12
"""The maximum number of lines in a panel. Readers cannot tell more lines apart."""

SERIES = (*COLOURS.values(), *SPARE[:-1])
"""Colours for settings when a colour cannot stand for one optimizer.

The last colour of `SPARE`, yellow, is left out because it is too pale for a line.
"""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


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
    whole line. If a run has no measurement at a task, the task has no row.

    Args:
        frame: Records with the columns of `analysis.records.runs.NEEDED`,
            test_accuracy and the measurements.
        titles: The title of each measurement, by its column. If a title contains "%",
            figures show the fractions in percent.
        all_settings: Whether a setting without a complete run has one row, with
            runs = 0 and task = 0. If False, it has no row.

    Returns:
        One row per (setting, measure, task), with the columns study, setting_id,
        problem, dataset, optimizer, lr, tasks, label, runs, expected, diverged,
        measure, title, task, mean, lo and hi. lo and hi are the ends of the interval;
        they are NaN if there are fewer than two runs.

    Raises:
        UsageError: No setting has a complete run, or the measurements were not made.
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
    return data


def draw_by_task(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure with a panel for each problem and each measurement.

    Args:
        data: One study, as `by_task` returns it.
        width: The width in inches. None means 8.2.

    Raises:
        UsageError: A problem has more settings than one panel can show (`LINES`).
    """
    from matplotlib.figure import Figure

    width = width or 8.2
    narrow = width < NARROW
    problems = [part for _, part in data.groupby("problem", sort=False)]
    count = data["measure"].nunique()
    across = min(count, 2 if narrow else 3)
    down = math.ceil(count / across)
    panels = 0.45 + down * (1.45 if narrow else 1.75)
    heights = [
        panels
        + 0.17 * math.ceil(part["setting_id"].nunique() / _legend_columns(part, width))
        for part in problems
    ]
    top = 0.0 if narrow else 0.5
    figure = Figure(figsize=(width, sum(heights) + top), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, 1 - top / (sum(heights) + top)))
    blocks = figure.subfigures(len(problems), 1, squeeze=False, height_ratios=heights)
    titles = dict(zip(data["measure"], data["title"], strict=True))
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
    """Draw the panels of one problem, with a common legend below the panels.

    `shape` is the number of rows and the number of columns of panels.
    """
    block.suptitle(describe_stream(part), x=0.01, ha="left", size=9.5, weight="bold")
    panels = block.subplots(*shape, squeeze=False).ravel()
    for ax in panels[len(titles) :]:
        ax.remove()
    panels = panels[: len(titles)]
    width = block.get_figure(root=True).get_figwidth()
    small = width < NARROW
    size = 7 if small else 8.5
    for (measure, title), ax in zip(titles.items(), panels, strict=True):
        draw_measure(part, measure, ax)
        ax.set_title(textwrap.fill(title, 24) if small else title, size=size)
        ax.tick_params(labelsize=size, which="both")
    for ax in panels[-shape[1] :]:
        ax.set_xlabel("task")
    legends = [ax.get_legend_handles_labels() for ax in panels]
    block.legend(
        *max(legends, key=lambda legend: len(legend[1])),
        loc="outside lower left",
        ncols=_legend_columns(part, width),
        frameon=False,
        fontsize=7 if small else 8,
        labelspacing=0.3,
    )


def _legend_columns(part: pd.DataFrame, width: float) -> int:
    """Return the number of columns (1 to 3) of a legend that is `width` inches wide."""
    inches = 0.06 * part["label"].str.len().max() + 0.6
    return int(np.clip(width // inches, 1, 3))


def draw_measure(part: pd.DataFrame, measure: str, ax: Axes) -> None:
    """Draw one measurement by task, with a line for each setting.

    Args:
        part: Rows of `by_task` for one problem.
        measure: The measurement to draw.
        ax: The axes to draw on.
    """
    from matplotlib.ticker import LogFormatter, MaxNLocator

    rows = part[(part["measure"] == measure) & (part["runs"] > 0)]
    scale = 100 if "%" in "".join(rows["title"].head(1)) else 1
    draw_lines(part, measure, ax, rates_of(part), scale=scale, dots=FEW)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if rows.empty:
        ax.annotate("no data", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return
    mean = scale * rows["mean"].to_numpy(dtype=float)
    low, high = float(mean.min()), float(mean.max())
    if measure in LOGARITHMIC and low > 0:
        ax.set_yscale("log")
        # Write 20 and not 2 x 10^1, which is wider. Label the minor ticks too, because
        # the axis has few powers of ten.
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter())
        ax.set_ylim(low / 1.6, high * 1.6)
        return
    # The limits show all lines. The parts of a band far from the lines are cut off.
    room = max(0.3 * (high - low), 0.02 * abs(high), 1e-9)
    top = min(100.5, high + room) if scale == 100 else high + room
    ax.set_ylim(max(0.0, low - room), top)


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
    return sorted(set(data.loc[data["runs"] > 0, "lr"].tolist()), reverse=True)


def draw_lines(
    part: pd.DataFrame,
    measure: str,
    ax: Axes,
    rates: Sequence[float],
    *,
    scale: float,
    dots: int,
) -> list[tuple[float, str, dict[str, Any]]]:
    """Draw the mean by task and its 95% band for each setting with complete runs.

    Args:
        part: Rows of `by_task` for one problem.
        measure: The measurement to draw.
        ax: The axes to draw on.
        rates: The learning rates, as in `line_looks`. Use the same rates for all panels
            of a figure, so that a setting looks the same in all panels.
        scale: The factor for all numbers, for example 100 to draw fractions in percent.
        dots: A line over at most this many tasks has a dot at each task.

    Returns:
        For each line: its last value, its name, and its style as keyword arguments of
        `Axes.plot`.

    Raises:
        UsageError: `part` has more than `LINES` settings.
    """
    settings = part.drop_duplicates("setting_id")
    if len(settings) > LINES:
        raise too_many(len(settings), f"settings of {part['problem'].iloc[0]}", LINES)
    settings = settings[settings["runs"] > 0]
    pairs = list(zip(settings["optimizer"], settings["lr"], strict=True))
    rows = part[part["measure"] == measure]
    ends = []
    for setting, look in zip(
        settings.to_dict("records"), line_looks(pairs, rates), strict=True
    ):
        own = rows[rows["setting_id"] == setting["setting_id"]]
        if own.empty:
            continue
        name = escape_text(setting["label"])
        if setting["runs"] < setting["expected"]:
            name += f" ({setting['runs']} of {setting['expected']})"
        task, band = (
            own["task"],
            scale * own[["mean", "lo", "hi"]].to_numpy(dtype=float),
        )
        marker = "o" if len(own) <= dots else None
        ax.plot(task, band[:, 0], label=name, marker=marker, markersize=2.5, **look)
        ax.fill_between(task, *band[:, 1:].T, color=look["color"], alpha=0.1, lw=0)
        if len(own) == 1:  # A band over one task has no width: draw a vertical line.
            ax.vlines(task, *band[:, 1:].T, color=look["color"], lw=0.8)
        ends.append((float(band[-1, 0]), name, look))
    return ends


def describe_stream(data: pd.DataFrame) -> str:
    """Return the heading of one problem, as in "permuted (mnist, 100 tasks)"."""
    sets = ", ".join(sorted(set(data["dataset"])))
    lengths = " or ".join(map(str, sorted(set(data["tasks"]))))
    plural = "" if lengths == "1" else "s"
    problem = data["problem"].iloc[0]
    return escape_text(f"{problem} ({sets}, {lengths} task{plural})")


def describe_band(data: pd.DataFrame) -> str:
    """Return a sentence that explains the lines and the bands of a figure."""
    counts = set(data.loc[data["runs"] > 0, "runs"])
    if not counts:
        return "No setting has a complete run."
    if counts == {1}:
        return "One run per setting, so there is no interval."
    seeds = count_range(counts)
    return f"Line: mean over {seeds} seeds. Band: 95% t-interval at each task."


def by_task_sheets(
    data: pd.DataFrame, scale: float = 1, unit: str = "", digits: str = ".4g"
) -> list[Sheet]:
    """Return a table of means and their intervals for each problem and measurement.

    A table has a row per task and a column per setting. A table shows at most `LISTED`
    tasks, at equal distances from the first task to the last task.

    Args:
        data: As `by_task` returns it.
        scale: The factor for all numbers, for example 100 to show fractions in percent.
        unit: The text after the title that names the unit, for example " (%)".
        digits: The format of a number, for example ".2f".
    """
    sheets = []
    groups = data.groupby(["problem", "measure"], sort=False)
    for (problem, measure), part in groups:
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
        title = f"{problem}: {str(measure).replace('_', ' ')}{unit}"
        caption = (
            "mean over the seeds ± half of its 95% t-interval; n/a: not measured, or "
            "too few seeds"
        )
        sheets.append(Sheet(title, caption, columns, rows, []))
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
        data=lambda frame, _, columns: by_task(frame, titles_of(shown, columns)),
        draw=draw_by_task,
        numbers=by_task_sheets,
        line_per_setting=True,
    )
