"""The figure of what rho does: the difference to SGD over rho, for each curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparing.compare import Question
from analysis.comparing.dose import dose
from analysis.figures.picture import (
    COLORS,
    NARROW,
    SPARE,
    Heading,
    Picture,
    View,
    escape_text,
    legend_columns,
    text_size,
    too_many,
    wrap_text,
)
from analysis.statistics.metrics import DEFAULT, MEASURE, MEASURES, find_metric
from analysis.tables.dose import dose_sheets
from analysis.tables.formats import Sheet

LINES = (*COLORS.values(), *SPARE)
"""The colors of the learning rates of a panel."""

MARKERS = "osD^vP*X"

LINEAR = 1.0
"""Differences up to this size, in the unit of the axis, are drawn on a linear scale.

Larger differences are drawn on a logarithmic scale, because a network that fails to
learn can lose a hundred times as much.
"""

PANEL = ["problem", "method"]
"""The columns with the same values in all curves of a panel."""


def dose_by_rho(frame: pd.DataFrame, view: View) -> pd.DataFrame:
    """Return the rows of `analysis.comparing.dose.dose` for the metric late_accuracy.

    Raises:
        UsageError: Nothing can be compared, or a panel has too many learning rates.
    """
    data = dose(frame, _question(view.measure))
    for _, panel in data.groupby(PANEL, sort=False):
        if (count := panel["curve"].nunique()) > len(LINES):
            raise too_many(count, "curves in a panel", len(LINES))
    return data


def draw_dose(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the figure: a panel per problem and method.

    A line has one learning rate, and a point for each rho. A bar is a 95% interval. The
    intervals of a line are simultaneous: together, they hold with a probability of 95%.
    A cross at the bottom marks a rho with which a run diverged. `data` is as
    `dose_by_rho` returns it.
    """
    width = width or 7.0
    measure = MEASURES[data["measure"].iloc[0]]
    heading = Heading(
        f"What rho does, study {data['study'].iloc[0]}",
        f"Mean over seeds of the late {measure.words} minus that of SGD with the same "
        "learning rate. Bars: 95% intervals for the whole line. The scale is linear "
        "from -1 to 1, and logarithmic beyond. Cross: a run diverged.",
        width,
    )
    panels = [part for _, part in data.groupby(PANEL, sort=False)]
    across = min(len(panels), 1 if width < NARROW else 2)
    down = -(-len(panels) // across)
    rates = sorted(data["lr"].unique(), reverse=True)
    columns = legend_columns(len(rates), 1.2, width)
    panel = 1.7 if width < NARROW else 2.1
    legend = 0.2 * -(-len(rates) // columns)
    figure = heading.make_figure(panel * down + 0.35 + legend)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for ax, part in zip(grid.flat, panels, strict=False):
        _draw_panel(part, ax, rates, width)
    for ax in grid.flat[len(panels) :]:
        ax.remove()
    size = text_size(width)
    for ax in figure.axes[-across:]:
        ax.set_xlabel("rho", size=size)
    figure.supylabel(f"difference to SGD ({measure.unit_of_difference})", size=size)
    handles: dict[str, Any] = {}
    for ax in figure.axes:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    names = [f"lr {rate:g}" for rate in rates]
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=size,
    )
    heading.draw(figure)
    return figure


def _draw_panel(part: pd.DataFrame, ax: Axes, rates: list[float], width: float) -> None:
    """Draw the lines of a panel, one per curve; `width` is the width of the figure."""
    scale = MEASURES[part["measure"].iloc[0]].scale
    shifts = np.linspace(-0.06, 0.06, len(rates)) if len(rates) > 1 else [0.0]
    for _, curve in part.groupby("curve", sort=False):
        index = rates.index(curve["lr"].iloc[0])
        x = curve["rho"].to_numpy() * np.exp(shifts[index])
        mean, lo, hi = (scale * curve[n].to_numpy() for n in ("difference", "lo", "hi"))
        color = LINES[index % len(LINES)]
        ax.errorbar(
            x,
            mean,
            yerr=np.abs(np.stack([mean - lo, hi - mean])),
            color=color,
            marker=MARKERS[index % len(MARKERS)],
            ms=3.5,
            lw=1.1,
            elinewidth=0.9,
            label=f"lr {rates[index]:g}",
        )
        diverged = x[np.isnan(mean)]
        axes: Any = ax.get_xaxis_transform()
        ax.plot(
            diverged, np.full(len(diverged), 0.03), "x", color=color, transform=axes
        )
    ax.axhline(0, color="0.35", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_yscale("symlog", linthresh=LINEAR)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, index: f"{value:g}")
    ax.minorticks_off()
    size, title_size = (7, 8) if width < NARROW else (7.5, 9)
    ax.tick_params(labelsize=size)
    first = part.iloc[0]
    title = escape_text(f"{first['problem']}, {first['method']}")
    share = 0.8 if width < NARROW else 0.42
    ax.set_title(wrap_text(title, share * width, title_size), size=title_size)


def _question(measure: str) -> Question:
    return Question(metric=find_metric(DEFAULT, measure))


def _sheets(data: pd.DataFrame) -> list[Sheet]:
    return dose_sheets(data, _question(data["measure"].iloc[0]))


FIGURE = Picture(
    title="What does rho do?",
    meaning="difference to SGD over rho: a panel per problem and method, a "
    "line per learning rate",
    columns=(MEASURE,),
    data=lambda frame, view, columns: dose_by_rho(frame, view),
    draw=draw_dose,
    numbers=_sheets,
    any_measure=True,
)
