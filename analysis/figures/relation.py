"""The figure of correlations of sharpness before a task with accuracy on the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis.comparing.relations import LEAST, relation
from analysis.figures.by_task import describe_stream
from analysis.figures.picture import NARROW, Picture, escape_text
from analysis.tables.relations import relation_sheets
from analysis.tables.words import too_many
from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROBE = "start_sharpness"  # the sharpness before a task
MOST = 40  # the maximum number of settings (rows) that stays readable

CORRELATIONS = {"spearman": "within each run", "partial": "controlled for task number"}
"""The columns of `relation` that the figure shows, and their names in the legend."""


def relation_by_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the correlation of sharpness before a task with accuracy, by setting.

    The columns are those of `analysis.comparing.relations.relation`.

    Raises:
        UsageError: The sharpness before a task was not measured, or was measured on too
            few tasks or in too few runs, or there are more than `MOST` settings.
    """
    if frame[PROBE].isna().all():
        raise UsageError(
            f"{PROBE} (the sharpness before a task) was not measured: run the study "
            "with --landscape-every 1 to measure it on every task"
        )
    data = relation(frame, (PROBE,))
    if data["spearman"].isna().all():
        raise UsageError(
            f"{PROBE} (the sharpness before a task) was measured on too few tasks or "
            f"in too few runs: a correlation needs {LEAST} measured tasks after the "
            "first task; run the study with --landscape-every 1 to measure every task"
        )
    if (count := data["setting_id"].nunique()) > MOST:
        raise too_many(count, "settings", MOST)
    return data


def draw_relation(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the figure of correlations: a panel per problem, a row per setting.

    A dot is the mean of a correlation over seeds. The bar through the dot is the 95%
    t-interval of the mean. A full dot is Spearman's correlation over the tasks of a
    run. A hollow dot is the partial correlation, controlled for the task's number.

    Args:
        data: As `relation_by_setting` returns it.
        width: The width in inches. None means 7.
    """
    from matplotlib.figure import Figure

    width = width or 7.0
    parts = [part for _, part in data.groupby("problem", sort=False)]
    rows = [len(part) for part in parts]
    height = 0.4 + sum(0.75 + 0.2 * count for count in rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=rows)[:, 0]
    for part, ax in zip(parts, grid, strict=True):
        _draw_panel(part.reset_index(drop=True), ax)
    grid[-1].set_xlabel("Spearman's correlation with test accuracy")
    figure.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside lower right",
        ncols=2,
        frameon=False,
        fontsize=7 if width < NARROW else 7.5,
    )
    return figure


def _draw_panel(part: pd.DataFrame, ax: Axes) -> None:
    """Draw the correlations of one problem: a row per setting, the first at the top."""
    for (name, label), shift in zip(CORRELATIONS.items(), (-0.13, 0.13), strict=True):
        y = part.index + shift
        face = "none" if name == "partial" else None
        ax.hlines(y, part[f"{name}_lo"], part[f"{name}_hi"], color="#0072B2", lw=1)
        ax.plot(part[name], y, "o", ms=4, color="#0072B2", mfc=face, label=label)
    ax.axvline(0, color="0.35", linewidth=0.8)
    ax.set_xlim(-1, 1)
    ax.set_ylim(len(part) - 0.5, -0.5)
    ax.set_yticks(part.index, [escape_text(label) for label in part["label"]])
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.grid(axis="x")
    ax.set_title(describe_stream(part))


FIGURE = Picture(
    title="Does sharpness predict the accuracy that follows?",
    meaning="correlation of sharpness before a task with accuracy on the task: a row "
    "per setting",
    columns=("test_accuracy", PROBE),
    data=lambda frame, metrics, columns: relation_by_setting(frame),
    draw=draw_relation,
    numbers=relation_sheets,
)
