"""Measurements by task: data and drawing of the figures with a line per setting.

A measurement is a column of the records, such as sharpness. Its title comes from the
column's unit, so that a new probe needs no change here.
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

KEPT = ("problem", "dataset", "optimizer", "lr", "tasks")  # columns of the data

LOGARITHMIC = ("start_sharpness", "sharpness")
"""Measurements drawn on a logarithmic axis: sharpness varies over decades."""

FEW = 24  # lines over at most this many tasks have a dot at each
LISTED = 11  # the most tasks that a sheet lists

LINES = 12
"""The most lines of a panel that readers can tell apart."""

SERIES = (*COLOURS.values(), *SPARE[:-1])
"""Colours that number settings; the last spare one, yellow, is too pale."""

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)))


def titles_of(names: Sequence[str], columns: Columns) -> dict[str, str]:
    """Return the titles of panels: the name of each column of the records, its unit."""
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
    """Return a figure of `by_task`, of one study: a panel per problem and measurement.

    Raises:
        UsageError: A panel would have too many lines.
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
    """Draw the panels of one problem, with their legend below."""
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
    """Return how many names of lines stand beside each other in so many inches."""
    inches = 0.06 * part["label"].str.len().max() + 0.6
    return int(np.clip(width // inches, 1, 3))


def draw_measure(part: pd.DataFrame, measure: str, ax: Axes) -> None:
    """Draw one measurement of one problem of `by_task`, a line per setting."""
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
        # powers of ten take too much room, and there are few of them
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter())
        ax.set_ylim(low / 1.6, high * 1.6)
        return
    # show all lines, and of the bands what is near them
    room = max(0.3 * (high - low), 0.02 * abs(high), 1e-9)
    top = min(100.5, high + room) if scale == 100 else high + room
    ax.set_ylim(max(0.0, low - room), top)


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
        looks = [(DASHES[rates.index(lr)], colours[name]) for name, lr in settings]
    else:
        looks = list(itertools.product(DASHES, SERIES))[: len(settings)]
    return [{"color": c, "linestyle": d, "linewidth": 1.4} for d, c in looks]


def rates_of(data: pd.DataFrame) -> list[float]:
    """Return the learning rates of the lines, the largest first."""
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
    """Draw each setting's mean by task with its band; skip settings without runs.

    Args:
        part: Rows of `by_task`, of one problem.
        measure: The measurement to draw.
        ax: The axes.
        rates: The learning rates in the order of their dashes. Panels that share them
            show equal settings alike.
        scale: What the numbers are multiplied by.
        dots: Mark every task of a line over at most this many.

    Returns:
        The last value, the name and the look of each line.

    Raises:
        UsageError: There are more settings than `LINES`.
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
        if len(own) == 1:  # a band over one task has no width
            ax.vlines(task, *band[:, 1:].T, color=look["color"], lw=0.8)
        ends.append((float(band[-1, 0]), name, look))
    return ends


def describe_stream(data: pd.DataFrame) -> str:
    """Return the heading of a problem's panels: "permuted (mnist, 100 tasks)"."""
    sets = ", ".join(sorted(set(data["dataset"])))
    lengths = " or ".join(map(str, sorted(set(data["tasks"]))))
    plural = "" if lengths == "1" else "s"
    problem = data["problem"].iloc[0]
    return escape_text(f"{problem} ({sets}, {lengths} task{plural})")


def describe_band(data: pd.DataFrame) -> str:
    """Return what the lines and bands of a figure are."""
    counts = set(data.loc[data["runs"] > 0, "runs"])
    if not counts:
        return "No setting has a complete run."
    if counts == {1}:
        return "One run per setting, so there is no interval."
    return f"Mean over {count_range(counts)} seeds; band: 95% t-interval at each task"


def by_task_sheets(
    data: pd.DataFrame, scale: float = 1, unit: str = "", digits: str = ".4g"
) -> list[Sheet]:
    """Return means ± half their intervals: a sheet for each problem and measurement.

    It has a row per task and a column per setting. A long stream is listed at `LISTED`
    tasks from its start to its end.

    Args:
        data: As `by_task` returns it.
        scale: What the numbers are multiplied by.
        unit: Their unit after that, in brackets.
        digits: A format of numbers.
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
        caption = "mean ± half of its 95% t-interval"
        sheets.append(Sheet(title, caption, columns, rows, []))
    return sheets


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
    if not float(mean):
        mean = mean.removeprefix("-")
    return f"{mean} ± {width}"


def picture_by_task(title: str, meaning: str, shown: Sequence[str]) -> Picture:
    """Return the figure of some measurements, given by their columns."""
    return Picture(
        title=title,
        meaning=meaning,
        columns=tuple(dict.fromkeys(("test_accuracy", *shown))),
        data=lambda frame, _, columns: by_task(frame, titles_of(shown, columns)),
        draw=draw_by_task,
        numbers=by_task_sheets,
        line_per_setting=True,
    )
