"""The figure of accuracy by task: the paper's Figures 4 and 5.

Source: Koster & Kukla 2024 (arXiv 2409.17300); the band is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.style import (
    LINES,
    NARROW,
    label_lines,
    legend_below,
    line_looks,
    plain,
)
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean test accuracy after each task, with its 95% t-band.

    The band is pointwise: each task's interval over the runs, taken by itself.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.

    Returns:
        One row per (study, setting, task), in the tables' order: study, setting_id,
        problem, dataset, optimizer, lr, label, runs, expected, diverged, tasks, task,
        mean, lo, hi (fractions; NaN where there are too few runs). A setting without a
        whole run has one row, with runs = 0 and task 0.
    """
    import pandas as pd

    from analysis.records.runs import by_setting, labels
    from analysis.statistics.intervals import mean_interval

    found = by_setting(frame)
    parts = []
    for problem in dict.fromkeys(runs.setting["problem"] for runs in found):
        group = [runs for runs in found if runs.setting["problem"] == problem]
        names = labels([runs.setting for runs in group])
        for runs, label in zip(group, names, strict=True):
            points = runs.matrix.shape[1] if runs.seeds else 1
            mean, lo, hi = mean_interval(runs.matrix[:, :points])
            of = runs.setting
            part = {
                "study": runs.study,
                "setting_id": runs.setting_id,
                "problem": problem,
                "dataset": of["dataset"],
                "optimizer": of["optimizer"],
                "lr": of["lr"],
                "label": label,
                "runs": len(runs.seeds),
                "expected": runs.expected,
                "diverged": len(runs.diverged),
                "tasks": of["tasks"],
                "task": np.arange(points),
                "mean": mean,
                "lo": lo,
                "hi": hi,
            }
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def draw_panels(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `accuracy_by_task`, a panel for each problem.

    Args:
        data: Of one study.
        width: In inches. Narrow ones (`style.NARROW`) have the names of the lines below
            each panel, and no title, which a paper's caption is.

    Raises:
        UsageError: A panel would have more lines than can be told apart.
    """
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(data["problem"]))
    if width is not None and width < NARROW:
        return _draw_narrow(data, problems, width)
    figure = Figure(figsize=(width or 7.5, 0.6 + 3.1 * len(problems)))
    grid = figure.subplots(len(problems), 1, squeeze=False)[:, 0]
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=0.09, right=0.745, top=1 - 0.75 / height, bottom=0.5 / height, hspace=0.45
    )
    rates = _rates(data)
    for problem, ax in zip(problems, grid, strict=True):
        draw_accuracy(data[data["problem"] == problem], ax=ax, rates=rates)
    figure.text(
        0.012,
        1 - 0.1 / height,
        f"Test accuracy after each task, study {plain(data['study'].iloc[0])}",
        size=11,
        weight="bold",
        va="top",
    )
    figure.text(
        0.012, 1 - 0.31 / height, say_runs(data), size=8.5, color="0.35", va="top"
    )
    return figure


def _draw_narrow(data: pd.DataFrame, problems: Sequence[str], width: float) -> Figure:
    """Return the figure for one column: panels below each other, names below each."""
    from matplotlib.figure import Figure

    panels = [data[data["problem"] == problem] for problem in problems]
    names = [0.15 * -(-panel["setting_id"].nunique() // 2) + 0.55 for panel in panels]
    tall = 1.75
    height = sum(names) + (tall + 0.3) * len(panels)
    figure = Figure(figsize=(width, height))
    rates, top = _rates(data), height
    for panel, below in zip(panels, names, strict=True):
        bottom = top - 0.3 - tall
        place = (0.5 / width, bottom / height, 1 - 0.56 / width, tall / height)
        ax = figure.add_axes(place)
        draw_accuracy(panel, ax=ax, rates=rates, narrow=True)
        top = bottom - below
    return figure


def say_runs(data: pd.DataFrame) -> str:
    """Return what the lines and the bands are."""
    drawn = data[data["runs"] > 0]
    counts = sorted(set(drawn["runs"].tolist()))
    if not counts:
        return "No setting has a whole run that did not diverge."
    if counts == [1]:
        return "One run a setting: there is no interval."
    several = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    said = f"Mean over {several} seeds; band: its 95% t-interval, task by task"
    for _, panel in drawn.groupby("problem"):
        bottom, top = _limits(panel)
        lo, hi = 100 * panel["lo"].to_numpy(), 100 * panel["hi"].to_numpy()
        if (lo < bottom).any() or (hi > top).any():
            return f"{said} (cut off where it leaves the axes)"
    return said


def _rates(data: pd.DataFrame) -> list[float]:
    """Return the learning rates that are drawn, from the largest."""
    return sorted(set(data.loc[data["runs"] > 0, "lr"].tolist()), reverse=True)


def draw_accuracy(
    data: pd.DataFrame,
    ax: Axes,
    rates: Sequence[float] | None = None,
    narrow: bool = False,
) -> None:
    """Draw one problem of `accuracy_by_task`, a line a setting, named at its end.

    Args:
        data: Rows of one study and one problem.
        ax: Where; the names stand to the right of it and need some space there.
        rates: The learning rates, in the order of their dashes; those drawn here if
            None. Panels that share them show one setting in one look.
        narrow: Name the lines below the axes, and not to their right.

    Raises:
        UsageError: There are more lines than can be told apart.
    """
    problem = data["problem"].iloc[0]
    settings = data.drop_duplicates("setting_id")
    if len(settings) > LINES:
        raise UsageError(
            f"{problem} has {len(settings)} settings, and no more than {LINES} lines "
            "can be told apart: choose some with --setting ID (table --format csv has "
            "them)"
        )
    ends: list[tuple[float, str, dict[str, Any]]] = []
    drawn = settings[settings["runs"] > 0]
    pairs = list(zip(drawn["optimizer"], drawn["lr"], strict=True))
    looks = line_looks(pairs, _rates(data) if rates is None else rates)
    for setting, look in zip(drawn.to_dict("records"), looks, strict=True):
        part = data[data["setting_id"] == setting["setting_id"]]
        percent = 100 * part[["mean", "lo", "hi"]].to_numpy()
        marker = "o" if len(part) == 1 else None
        ax.plot(part["task"], percent[:, 0], marker=marker, **look)
        ax.fill_between(
            part["task"], *percent[:, 1:].T, color=look["color"], alpha=0.1, lw=0
        )
        if len(part) == 1:  # a band of one task has no width
            ax.vlines(part["task"], *percent[:, 1:].T, color=look["color"], lw=0.8)
        few = setting["runs"] < setting["expected"]
        count = f" ({setting['runs']} of {setting['expected']})" if few else ""
        ends.append((percent[-1, 0], f"{plain(setting['label'])}{count}", look))
    _dress(data, ax)
    if narrow:
        legend_below(ax, [(name, look) for _, name, look in ends])
    else:
        ax.yaxis.set_label_coords(-0.075, 0.5)
        label_lines(ax, ends)
    lost = settings[settings["runs"] == 0]
    if len(lost):
        which = zip(lost["label"], lost["diverged"], strict=True)
        names = ", ".join(
            f"{plain(label)} ({count} diverged)" for label, count in which
        )
        ax.annotate(
            f"not drawn, for want of a whole run: {names}",
            (0, 0),
            xytext=(0, -34 - (12 * -(-len(ends) // 2) if narrow else 0)),
            textcoords="offset points",
            xycoords="axes fraction",
            va="top",
            size=8,
            color="0.35",
        )


def _dress(data: pd.DataFrame, ax: Axes) -> None:
    """Give the axes their limits, names and title."""
    from matplotlib.ticker import MaxNLocator

    lengths = sorted(set(data["tasks"].tolist()))
    last = int(lengths[-1]) - 1
    if last:
        ax.set_xlim(0, last)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        ax.set_xticks([0])
    ax.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    ax.set_ylim(_limits(data))
    sets = ", ".join(sorted(set(data["dataset"].tolist())))
    spans = " or ".join(map(str, lengths))
    problem = data["problem"].iloc[0]
    ax.set_title(plain(f"{problem} ({sets}, {spans} task{'s' if last else ''})"))
    ax.set_xlabel("task")
    ax.set_ylabel("test accuracy (%)")


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis of accuracy, in per cent.

    The lines get at least two fifths of it. So a band of few seeds, which may be very
    wide on a hard task and reach beyond what an accuracy can be, is cut off there.
    """
    mean, lo, hi = (100 * data[n].to_numpy(dtype=float) for n in ("mean", "lo", "hi"))
    if np.isnan(mean).all():
        return 0.0, 100.0
    low, high = np.nanmin(mean), np.nanmax(mean)
    room = max(0.75 * (high - low), 0.5)
    bottom = max(0.0, low - room, np.fmin.reduce([*lo, low]) - 0.1)
    return float(bottom), float(
        min(100.2, high + room, np.fmax.reduce([*hi, high]) + 0.1)
    )
