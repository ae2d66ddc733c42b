"""The heat maps of a sweep of rho: a metric over rho and learning rate.

Colours are those of cividis, which readers with and without a colour blindness see
alike (Nunez, Anderton & Renslow 2018), and which becomes lighter all along, so that it
can be read in grey. Lighter is better, whichever way the metric goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.over_rho import limits, over_rho, told_in
from analysis.figures.style import NARROW, plain
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

SHOWN = ("plasticity_loss", "mean_accuracy")
MOST = 24
"""The most values of rho or of the learning rate that make a grid one can read."""

PANELS = 6
"""The most panels beside each other."""

CELL = (0.315, 0.27)
"""Width and height of a cell, in inches."""

LEFT, RIGHT, GAP, TOP, HEAD, FOOT = 0.72, 0.78, 0.14, 0.42, 0.6, 0.66
"""Inches: beside the cells, between panels, of the title, above and below the rows."""

LEAST, TINY = 0.26, 0.17
"""Inches: a cell's width from which a number fits in it, and the least there is."""

RING = "#D55E00"


def rho_grid(frame: pd.DataFrame, metrics: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Return `over_rho` of the metrics, if it can be drawn as a grid.

    Raises:
        UsageError: No setting has a rho, or there are too many values of it.
    """
    data = over_rho(frame, metrics)
    if data["rho"].isna().all():
        raise UsageError("no setting has a rho: there is nothing to draw over it")
    for name in ("rho", "lr"):
        if (count := data[name].nunique()) > MOST:
            raise UsageError(
                f"there are {count} values of {name}, and no more than {MOST} make a "
                "grid: choose settings with --setting ID (table --format csv has them)"
            )
    if (count := data["panel"].nunique()) > PANELS:
        raise UsageError(
            f"there are {count} panels ({', '.join(data['panel'].unique()[:PANELS])}, "
            f"...), and no more than {PANELS} stand beside each other: choose settings "
            "with --setting ID (table --format csv has them)"
        )
    return data


def draw_grids(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `rho_grid`: a row a problem and metric, a panel an optimizer.

    In one row the colours mean the same everywhere.
    """
    from matplotlib.figure import Figure

    shown = data[["problem", "metric"]].drop_duplicates()
    kinds = list(zip(shown["problem"], shown["metric"], strict=True))
    kinds.sort(key=lambda kind: list(shown["problem"].unique()).index(kind[0]))
    panels = panels_of(data)
    rates = sorted(set(data["lr"]))
    plan = plan_of(panels, width)
    tall = len(plan.lines) * (CELL[1] * len(rates) + plan.line) - plan.line
    title = TOP if width is None else 0.0
    height = title + len(kinds) * (HEAD + tall + (plan.gap)) + FOOT
    figure = Figure(figsize=(plan.width, height))
    for i, (problem, metric) in enumerate(kinds):
        row = data[(data["problem"] == problem) & (data["metric"] == metric)]
        colours = scale_of(row)
        top = height - title - i * (HEAD + tall + plan.gap) - HEAD
        for j, line in enumerate(plan.lines):
            bottom = top - (j + 1) * CELL[1] * len(rates) - j * plan.line
            last = plan.uneven or (
                (i == len(kinds) - 1 or plan.gap > 0) and j == len(plan.lines) - 1
            )
            left = LEFT
            for panel in line:
                span = plan.cell * max(1, len(panels[panel]))
                place = (left, bottom, span, CELL[1] * len(rates))
                ax = _place(figure, place)
                part = row[row["panel"] == panel]
                draw_grid(part, ax, panels[panel], rates, colours, plan.cell >= LEAST)
                if left > LEFT:
                    ax.set_yticklabels([])
                else:
                    ax.set_ylabel("learning rate")
                if not last:
                    ax.set_xticklabels([])
                    ax.set_xlabel("")
                left += span + GAP
        beside = plan.width - RIGHT + 0.12
        bar = _place(figure, (beside, top - tall, 0.11, tall))
        draw_scale(row, bar, colours)
        head = (top + 0.27) / height
        size = 9.5 if width is None or width > NARROW else 8
        words = head_of(row) if size > 9 else head_of(row).replace(": ", ":\n", 1)
        figure.text(0.1 / plan.width, head, words, size=size, weight="bold")
    if width is None:
        say(figure, data)
    return figure


@dataclass(frozen=True)
class Plan:
    """Which panels stand beside each other, and how wide a cell is, in inches."""

    lines: list[list[str]]
    cell: float
    width: float
    gap: float
    """Below a row, for what the axis says there."""

    @property
    def uneven(self) -> bool:
        """Whether columns below each other are not of the same rho."""
        return len(self.lines) > 1 and any(len(line) > 1 for line in self.lines)

    @property
    def line(self) -> float:
        """Between panels below each other: room for an axis, or for a name only."""
        return 0.85 if self.uneven else 0.3


def plan_of(panels: Mapping[str, Sequence[float]], width: float | None) -> Plan:
    """Return where the panels stand in so many inches; as they like if None."""
    wide = {name: max(1, len(rhos)) for name, rhos in panels.items()}
    if width is None:
        most = LEFT + sum(wide.values()) * CELL[0] + GAP * (len(wide) - 1) + RIGHT
        return Plan([list(panels)], CELL[0], most, 0.0)
    room = width - LEFT - RIGHT
    beside = len(wide)
    while True:
        cell = (room - GAP * (beside - 1)) / (beside * max(wide.values()))
        if cell >= LEAST or beside == 1:
            break
        beside -= 1
    cell = min(CELL[0], max(TINY, cell))
    lines: list[list[str]] = [[]]
    for name in panels:
        those = [*lines[-1], name]
        need = sum(wide[n] for n in those) * cell + GAP * (len(those) - 1)
        if lines[-1] and need > room + 1e-9:
            lines.append([name])
        else:
            lines[-1].append(name)
    return Plan(lines, cell, width, 0.5 if len(lines) > 1 else 0.0)


def _place(figure: Figure, inches: tuple[float, float, float, float]) -> Axes:
    """Return axes at left, bottom, width and height in inches."""
    width, height = figure.get_size_inches()
    left, bottom, span, tall = inches
    return figure.add_axes((left / width, bottom / height, span / width, tall / height))


def panels_of(data: pd.DataFrame) -> dict[str, list[float]]:
    """Return the panels in order, each with its values of rho; none for one without."""
    rhos = sorted(set(data["rho"].dropna()))
    has = data.groupby("panel", sort=False)["rho"].count() > 0
    return {str(panel): rhos if some else [] for panel, some in has.items()}


def scale_of(row: pd.DataFrame) -> ScalarMappable:
    """Return the colours of a row of `over_rho`, in the unit that a reader is told."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from analysis.statistics.metrics import find_metric

    metric = find_metric(row["metric"].iloc[0])
    scale, _ = told_in(metric)
    means = row.loc[row["diverged"] == 0, "mean"].dropna()
    low, high = limits((scale * means).tolist(), metric.higher)
    name = "cividis" if metric.higher else "cividis_r"
    return ScalarMappable(Normalize(low, high), name)


def draw_grid(
    data: pd.DataFrame,
    ax: Axes,
    rhos: Sequence[float],
    rates: Sequence[float],
    colours: ScalarMappable,
    told: bool = True,
) -> None:
    """Draw one panel of `rho_grid`: a cell a setting.

    A hatched cell diverged with as many of its seeds as it says; its colour is that of
    the others, grey if there are none. A white one was not run.

    Args:
        data: Rows of one study, problem, metric and panel.
        ax: Where.
        rhos: The columns; empty for settings without a rho.
        rates: The rows, from below.
        colours: Of `scale_of`.
        told: Whether there is room for a number in a cell.
    """
    for cell in data.to_dict("records"):
        place = rhos.index(cell["rho"]) if rhos else 0
        draw_cell(
            {str(k): v for k, v in cell.items()},
            ax,
            (place, rates.index(cell["lr"])),
            colours,
            told,
        )
    ax.set_xlim(0, max(1, len(rhos)))
    ax.set_ylim(0, len(rates))
    ax.set_xticks(np.arange(len(rhos)) + 0.5, [f"{rho:g}" for rho in rhos])
    ax.tick_params(axis="x", labelsize=7, labelrotation=90, length=2)
    ax.set_yticks(np.arange(len(rates)) + 0.5, [f"{rate:g}" for rate in rates])
    ax.tick_params(axis="y", labelsize=7.5, length=2)
    ax.grid(visible=False)
    ax.set_facecolor("none")
    ax.spines[:].set_visible(False)
    if len(data):
        ax.set_title(data["panel"].iloc[0], size=8.5, pad=3)
    if rhos:
        ax.set_xlabel("rho", labelpad=2)


def draw_cell(
    cell: dict[str, Any],
    ax: Axes,
    corner: tuple[int, int],
    colours: ScalarMappable,
    told: bool = True,
) -> None:
    """Draw a setting's cell, with its number, or with how many runs diverged."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Stroke, withStroke

    from analysis.statistics.metrics import find_metric

    scale, _ = told_in(find_metric(cell["metric"]))
    value = scale * cell["mean"]
    known = not np.isnan(value)
    colour = colours.to_rgba(value) if known else (0.93, 0.93, 0.93, 1.0)
    dark = float(np.dot(colour[:3], (0.2126, 0.7152, 0.0722))) < 0.42
    ink = "white" if dark else "black"
    x, y = corner
    hatch = "//////" if cell["diverged"] else None
    ax.add_patch(
        Rectangle(
            corner,
            1,
            1,
            facecolor=colour,
            edgecolor=(*(3 * [1.0 if dark else 0.35]), 0.45),
            hatch=hatch,
            linewidth=0,
        )
    )
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=0.8))
    words = f"{value:.1f}".replace("-0.0", "0.0") if known else "n/a"
    if cell["diverged"]:
        words = f"{cell['diverged']}/{cell['expected']}"
    if not told:
        words = ""
    around = [withStroke(linewidth=2.2, foreground=colour)]
    ax.text(
        x + 0.5,
        y + 0.47,
        words,
        ha="center",
        va="center",
        size=6.3 if len(words) < 5 else 5.6,
        color=ink,
        path_effects=around if hatch else [],
    )
    if cell["best"]:
        inner = Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, fill=False, zorder=5)
        inner.set(edgecolor=RING, linewidth=1.8, clip_on=False)
        inner.set_path_effects([Stroke(linewidth=3.4, foreground="white"), Stroke()])
        ax.add_patch(inner)


def draw_scale(row: pd.DataFrame, ax: Axes, colours: ScalarMappable) -> None:
    """Draw a row's colours, pointed where some cells lie beyond them."""
    from analysis.statistics.metrics import find_metric

    metric = find_metric(row["metric"].iloc[0])
    scale, unit = told_in(metric)
    means = scale * row["mean"].dropna()
    low, high = colours.get_clim()
    over, under = bool((means > high).any()), bool((means < low).any())
    ends = {(True, True): "both", (True, False): "max", (False, True): "min"}
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(colours, cax=ax, extend=ends.get((over, under), "neither"))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.ax.grid(visible=False)
    bar.set_label(unit, size=8)


def head_of(row: pd.DataFrame) -> str:
    """Return what a row shows."""
    from analysis.statistics.metrics import find_metric

    first = row.iloc[0]
    way = "higher" if find_metric(first["metric"]).higher else "lower"
    sets = ", ".join(sorted(set(row["dataset"])))
    spans = " or ".join(str(tasks) for tasks in sorted(set(row["tasks"])))
    return (
        f"{plain(first['problem'])} ({plain(sets)}, {spans} tasks): "
        f"{first['metric'].replace('_', ' ')}, {way} is better"
    )


def say(figure: Figure, data: pd.DataFrame) -> None:
    """Write the figure's title, and what its signs mean."""
    width, height = figure.get_size_inches()
    title = f"Over rho and learning rate, study {plain(data['study'].iloc[0])}"
    figure.text(0.1 / width, 1 - 0.1 / height, title, size=11, weight="bold", va="top")
    counts = sorted(set(data["expected"]))
    several = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    said = f"Mean over {several} seed{'s' if counts[-1] > 1 else ''}; lighter is better"
    if data["best"].any():
        said += "; ringed: the best"
    if data["diverged"].any():
        said += "; hatched: so many of its runs diverged, colour of the others"
    figure.text(0.1 / width, 1 - 0.31 / height, said, size=8.5, color="0.35", va="top")
