"""The figure of correlations of sharpness before a task with accuracy on the task."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparing.relations import BETWEEN, relation
from analysis.figures.picture import (
    NARROW,
    Heading,
    Picture,
    describe_stream,
    escape_text,
    text_size,
    too_many,
    wrap_text,
)
from analysis.statistics.correlations import LEAST
from analysis.tables.relations import relation_sheets
from trainables.usage import UsageError

PROBE = "start_sharpness"  # the sharpness before a task
MOST = 40  # the maximum number of settings (rows) that stays readable

CORRELATIONS = {
    "spearman": "within each run",
    "partial": "without trend along the stream",
}
"""The columns of `relation` that the figure shows, and their names in the legend."""


def relation_by_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the correlation of sharpness before a task with accuracy, by setting.

    The columns are as in `analysis.comparing.relations.relation`.

    Raises:
        UsageError: The sharpness before a task was not measured, no run has a
            correlation, or there are more than `MOST` settings.
    """
    if frame[PROBE].isna().all():
        raise UsageError(
            f"{PROBE} (the sharpness before a task) was not measured: run the study "
            "with --landscape-every 1 to measure it on every task"
        )
    data = relation(frame, (PROBE,))
    if data["spearman"].isna().all():
        raise UsageError(
            f"no run has a correlation of {PROBE} (the sharpness before a task) with "
            f"accuracy: a complete run needs {LEAST} measured tasks after its first "
            "task, and both values must vary. Run the study with --landscape-every 1 "
            "to measure every task"
        )
    if (count := data["setting_id"].nunique()) > MOST:
        raise too_many(count, "settings", MOST)
    return data


def draw_relation(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the figure of correlations: a panel per problem, a row per setting.

    A dot is the mean of a correlation over seeds, and the bar through it is the 95%
    interval of the mean. A full dot is Spearman's correlation over the tasks of a run.
    A hollow dot is the same without a smooth trend over the tasks. "n/a" stands for an
    undefined correlation. `data` is as `relation_by_setting` returns it.
    """
    width = width or 7.0
    heading = Heading(
        f"Sharpness before a task and accuracy on it, study {data['study'].iloc[0]}",
        "Dot: mean over seeds of the rank correlation of sharpness before a task with "
        "test accuracy on the task. Bar: its 95% interval.",
        width,
    )
    parts = [part for _, part in data.groupby("problem", sort=False)]
    rows = [len(part) for part in parts]
    row = 0.27 if width < NARROW else 0.2  # a narrow figure breaks long names
    figure = heading.make_figure(0.4 + sum(0.75 + row * count for count in rows))
    grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=rows)[:, 0]
    for part, ax in zip(parts, grid, strict=True):
        _draw_panel(part.reset_index(drop=True), ax, width)
    grid[-1].set_xlabel("rank correlation (Spearman)", size=text_size(width))
    figure.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside lower right",
        ncols=2,
        frameon=False,
        fontsize=7 if width < NARROW else 7.5,
    )
    heading.draw(figure)
    return figure


def _draw_panel(part: pd.DataFrame, ax: Axes, width: float) -> None:
    """Draw the correlations of one problem: a row per setting, the first at the top.

    `width` is the width of the figure in inches.
    """
    for (name, label), shift in zip(CORRELATIONS.items(), (-0.13, 0.13), strict=True):
        y = part.index + shift
        face = "none" if name == "partial" else None
        ax.hlines(y, part[f"{name}_lo"], part[f"{name}_hi"], color="#0072B2", lw=1)
        ax.plot(part[name], y, "o", ms=4, color="#0072B2", mfc=face, label=label)
        undefined = part[name].isna() & ~((name == "partial") & (part.label == BETWEEN))
        for i in part.index[undefined]:
            ax.text(0.02, y[i], "n/a", fontsize=6.5, color="0.35", va="center")
    ax.axvline(0, color="0.35", linewidth=0.8)
    ax.set_xlim(-1, 1)
    ax.set_ylim(len(part) - 0.5, -0.5)
    size, title_size = (7, 8) if width < NARROW else (7.5, 9.5)
    labels = [wrap_text(escape_text(n), 0.4 * width, size) for n in part["label"]]
    ax.set_yticks(part.index, labels)
    ax.tick_params(labelsize=size)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    title = wrap_text(describe_stream(part), 0.6 * width, title_size)
    ax.set_title(title, size=title_size)


FIGURE = Picture(
    title="Does sharpness predict the accuracy that follows?",
    meaning="correlation of sharpness before a task with accuracy on the task: a row "
    "per setting",
    columns=("test_accuracy", PROBE),
    data=lambda frame, view, columns: relation_by_setting(frame),
    draw=draw_relation,
    numbers=relation_sheets,
    needs_labels=True,
)
