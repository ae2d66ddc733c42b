"""The profile of a sweep of rho: a metric against rho, a line a learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.over_rho import limits, told_in
from analysis.figures.rho import PANELS, head_of, rho_grid
from analysis.figures.style import NARROW, plain
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SHOWN = ("accuracy_change",)
MARKERS = ("o", "s", "^", "D", "v", "P")
BELOW, ABOVE = r"$\downarrow$", r"$\uparrow$"
ROW = 0.042
"""Height of a row of crosses at the foot, as a part of the axis."""

RATES = 6
"""The most learning rates whose lines can be told apart."""


def profile(frame: pd.DataFrame, metrics: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Return `over_rho` of the metrics, if it can be drawn as lines.

    Raises:
        UsageError: No setting has a rho, or there are too many lines or panels.
    """
    data = rho_grid(frame, metrics)
    if (count := data["lr"].nunique()) > RATES:
        raise UsageError(
            f"there are {count} learning rates, and no more than {RATES} lines can "
            "be told apart: choose settings with --setting ID (table --format csv has "
            "them)"
        )
    return data


def draw_profiles(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `profile`: a row a problem, a panel an optimizer."""
    from matplotlib.figure import Figure

    shown = data[["problem", "metric"]].drop_duplicates()
    kinds = list(zip(shown["problem"], shown["metric"], strict=True))
    panels = list(data.loc[data["rho"].notna(), "panel"].unique())
    assert len(panels) <= PANELS
    if width is not None and width < NARROW:
        return _draw_narrow(data, kinds, panels, width)
    width, height = width or 1.75 + 2.55 * len(panels), 0.5 + 2.7 * len(kinds)
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(
        len(kinds), len(panels), squeeze=False, sharex=True, sharey="row"
    )
    figure.subplots_adjust(
        left=0.68 / width,
        right=1 - 1.2 / width,
        top=1 - 0.98 / height,
        bottom=0.5 / height,
        wspace=0.08,
        hspace=0.42,
    )
    rates = sorted(set(data["lr"]), reverse=True)
    for axes, (problem, metric) in zip(grid, kinds, strict=True):
        row = data[(data["problem"] == problem) & (data["metric"] == metric)]
        gone = set(row.loc[row["rho"].notna() & (row["diverged"] > 0), "lr"])
        lost = [rate for rate in rates if rate in gone]
        for ax, panel in zip(axes, panels, strict=True):
            flat = row[row["rho"].isna()]
            draw_profile(row[row["panel"] == panel], ax, rates, flat, lost)
            ax.set_title(panel, size=8.5, pad=3)
        limit(row, axes, len(lost))
        axes[0].set_ylabel(unit_of(row))
        place = axes[0].get_position()
        top = place.y1 + 0.24 / height
        figure.text(0.1 / width, top, head_of(row), size=9.5, weight="bold")
    figure.align_ylabels(grid[:, 0])
    for ax in grid[-1]:
        ax.set_xlabel("rho")
        ax.xaxis.set_major_formatter("{x:g}")
    name(figure, grid[0][-1], data, rates)
    return figure


def _draw_narrow(
    data: pd.DataFrame,
    kinds: Sequence[tuple[str, str]],
    panels: Sequence[str],
    width: float,
) -> Figure:
    """Return the figure for one column: every panel below the other, and no title."""
    from matplotlib.figure import Figure

    rates = sorted(set(data["lr"]), reverse=True)
    lines = handles(data, rates)
    tall, head, foot = 1.5, 0.35, 0.5 + 0.17 * -(-len(lines) // 2)
    height = len(kinds) * len(panels) * (tall + head) + foot
    figure = Figure(figsize=(width, height))
    top = height
    for problem, metric in kinds:
        row = data[(data["problem"] == problem) & (data["metric"] == metric)]
        gone = set(row.loc[row["rho"].notna() & (row["diverged"] > 0), "lr"])
        lost = [rate for rate in rates if rate in gone]
        for panel in panels:
            bottom = top - head - tall
            ax = figure.add_axes(
                (0.68 / width, bottom / height, 1 - 0.75 / width, tall / height)
            )
            flat = row[row["rho"].isna()]
            draw_profile(row[row["panel"] == panel], ax, rates, flat, lost)
            limit(row, [ax], len(lost))
            ax.set_ylabel(unit_of(row))
            ax.set_title(plain(f"{problem}: {panel}"), size=8.5, pad=3)
            ax.xaxis.set_major_formatter("{x:g}")
            top = bottom
    figure.axes[-1].set_xlabel("rho")
    figure.legend(
        handles=lines,
        loc="lower left",
        bbox_to_anchor=(0.05, 0),
        ncols=2,
        frameon=False,
        fontsize=7.5,
        labelspacing=0.3,
    )
    return figure


def draw_profile(
    data: pd.DataFrame,
    ax: Axes,
    rates: Sequence[float],
    flat: pd.DataFrame,
    foot: Sequence[float],
) -> None:
    """Draw one panel: a line a learning rate over rho, with its 95% band.

    Where some runs diverged there is no point, and a cross at the foot says so.

    Args:
        data: Rows of `profile`, of one study, problem, metric and panel.
        ax: Where.
        rates: The learning rates, in the order of their looks.
        flat: Rows without a rho, each drawn dashed as far as the axis goes.
        foot: The learning rates that have a row of crosses at the foot.
    """
    ax.set_xscale("log")
    if len(data):
        ax.set_xlim(data["rho"].min() / 1.35, data["rho"].max() * 1.35)
    for place, rate in enumerate(rates):
        look = look_of(place, len(rates))
        part = data[data["lr"] == rate].sort_values("rho")
        draw_line(part, ax, look)
        draw_level(flat[flat["lr"] == rate], ax, look["color"])
        lost = part.loc[part["diverged"] > 0, "rho"]
        if len(lost):
            height = ROW * (len(foot) - foot.index(rate))
            ax.plot(
                lost,
                np.full(len(lost), height),
                "x",
                zorder=4,
                color=look["color"],
                markersize=4,
                transform=ax.get_xaxis_transform(),
            )


def draw_line(part: pd.DataFrame, ax: Axes, look: dict[str, Any]) -> None:
    """Draw one learning rate's line with its band, where no run diverged."""
    ends = told(part).where(part["diverged"] == 0)
    ax.plot(part["rho"], ends["mean"], **look)
    ax.fill_between(
        part["rho"], ends["lo"], ends["hi"], color=look["color"], alpha=0.13, lw=0
    )


def draw_level(flat: pd.DataFrame, ax: Axes, colour: Any) -> None:
    """Draw settings without a rho, dashed, each with its band."""
    for mean, lo, hi in told(flat[flat["diverged"] == 0]).to_numpy():
        ax.axhline(mean, color=colour, linewidth=0.9, dashes=(4, 2))
        ax.axhspan(lo, hi, color=colour, alpha=0.07, lw=0)


def told(part: pd.DataFrame) -> pd.DataFrame:
    """Return mean, lo and hi of rows of one metric, in the unit a reader is told."""
    from analysis.statistics.metrics import find_metric

    ends = part[["mean", "lo", "hi"]]
    return ends * told_in(find_metric(part["metric"].iloc[0]))[0] if len(part) else ends


def look_of(place: int, count: int) -> dict[str, Any]:
    """Return the colour of a learning rate: the darker the larger."""
    from matplotlib import colormaps

    colour = colormaps["viridis"](0.88 * place / max(1, count - 1))
    marker = MARKERS[place]
    return {"color": colour, "marker": marker, "linewidth": 1.3, "markersize": 3.4}


def point_beyond(ax: Axes, low: float, high: float, foot: float) -> None:
    """Draw an arrow where a line's point lies outside the limits.

    Args:
        ax: A panel.
        low: Its lower limit.
        high: Its upper limit.
        foot: How much of the panel lies below the lower limit, as a fraction.
    """
    lines = [line for line in ax.lines if line.get_marker() in MARKERS]
    for place, line in enumerate(lines):
        rho, mean = (np.asarray(each, dtype=float) for each in line.get_data())
        aside = 1.13 ** (place - (len(lines) - 1) / 2)  # or they would hide each other
        for beyond, height, arrow in (
            (mean < low, foot + 0.045, BELOW),
            (mean > high, 0.955, ABOVE),
        ):
            ax.plot(
                aside * rho[beyond],
                np.full(beyond.sum(), height),
                linestyle="",
                marker=arrow,
                markersize=6.5,
                markeredgewidth=0.4,
                color=line.get_color(),
                zorder=5,
                transform=ax.get_xaxis_transform(),
            )


def limit(row: pd.DataFrame, axes: Sequence[Axes], crosses: int) -> None:
    """Give a row of panels the limits on which what is good can be told apart.

    Below them is room for the crosses, where there are any; no line is drawn there.
    Arrows point to what lies beyond.
    """
    from analysis.statistics.metrics import find_metric

    metric = find_metric(row["metric"].iloc[0])
    scale, _ = told_in(metric)
    whole = row[row["diverged"] == 0]
    low, high = limits((scale * whole["mean"].dropna()).tolist(), metric.higher)
    # what the lines are to be compared with is always there
    flat = scale * whole.loc[whole["rho"].isna(), "mean"].dropna()
    low, high = min([low, *flat]), max([high, *flat])
    room = 0.12 * (high - low)
    low, high = low - room, high + room
    foot = ROW * (crosses + 1) if crosses else 0.0
    axes[0].set_ylim(low - (high - low) * foot / (1 - foot), high)
    ticks = [tick for tick in axes[0].get_yticks() if low <= tick <= high]
    axes[0].set_yticks(ticks)
    for ax in axes:
        point_beyond(ax, low, high, foot)
    for ax in axes if foot else ():
        place = ax.get_xaxis_transform()
        ax.fill_between(
            [0, 1], 0, foot, color="white", zorder=2.4, transform=ax.transAxes
        )
        ax.plot(ax.get_xlim(), [foot, foot], color="0.85", lw=0.6, transform=place)


def unit_of(row: pd.DataFrame) -> str:
    """Return the name of the vertical axis."""
    from analysis.statistics.metrics import find_metric

    metric = row["metric"].iloc[0]
    _, unit = told_in(find_metric(metric))
    return f"{metric.replace('_', ' ')}\n({unit})"


def handles(data: pd.DataFrame, rates: Sequence[float]) -> list[Line2D]:
    """Return what a legend tells of: learning rates, what is flat, what diverged."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], label=f"lr {rate:g}", **look_of(i, len(rates)))
        for i, rate in enumerate(rates)
    ]
    if data["rho"].isna().any():
        names = data.loc[data["rho"].isna(), "panel"].unique()
        flat = " or ".join(names)
        lines.append(
            Line2D([], [], color="0.3", linewidth=0.9, dashes=(4, 2), label=flat)
        )
    if (data["diverged"] > 0).any():
        lines.append(
            Line2D([], [], color="0.3", marker="x", ls="", label="some diverged")
        )
    return lines


def name(figure: Figure, ax: Axes, data: pd.DataFrame, rates: Sequence[float]) -> None:
    """Write the figure's title, and name its lines beside the upper right panel."""
    width, height = figure.get_size_inches()
    ax.legend(
        handles=handles(data, rates),
        loc="upper left",
        bbox_to_anchor=(1.02, 1.02),
        frameon=False,
        fontsize=8.5,
        handlelength=2.2,
    )
    title = f"Against rho, study {plain(data['study'].iloc[0])}"
    figure.text(0.1 / width, 1 - 0.1 / height, title, size=11, weight="bold", va="top")
    counts = sorted(set(data["expected"]))
    several = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    said = f"Mean over {several} seeds with its 95% t-interval"
    if counts == [1]:
        said = "One run a setting: there is no interval"
    if (data["diverged"] > 0).any():
        said += "; no point where some runs diverged"
    lines = [
        line for ax in figure.axes for line in ax.lines if np.size(line.get_xdata())
    ]
    if {line.get_marker() for line in lines} & {BELOW, ABOVE}:
        said += "; arrows: beyond the axis"
    figure.text(0.1 / width, 1 - 0.31 / height, said, size=8.5, color="0.35", va="top")
