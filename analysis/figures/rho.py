"""The figure rho: heat maps of a metric over rho and the learning rate.

rho is the radius of the ascent step of optimizers such as SAM. Readers with and without
color blindness see the colors, cividis, in nearly the same way (Nunez, Anderton &
Renslow 2018), and the order of the colors is also visible in grey. Lighter is better
for every metric, even if its low values are good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Stroke, withStroke

from analysis.comparing.fresh import runs_for
from analysis.comparing.winners import common_seeds, winner
from analysis.figures.curves.sheets import mean_and_half
from analysis.figures.picture import (
    NARROW,
    Heading,
    Picture,
    describe_stream,
    text_width,
    too_many,
    wrap_text,
)
from analysis.records.runs import by_problem, by_setting, labels, show
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import MEASURE, MEASURES, Metric, find_metric
from analysis.tables.formats import Cells, Column, Sheet, make_sheet, number
from analysis.tables.words import count_range, unit_of_level, value_cell
from trainables.usage import UsageError

SHOWN = ("late_accuracy", "plasticity_loss")  # the metrics shown by default
# The columns of the setting that `rho_grid` copies into its result.
KEPT = ("problem", "dataset", "tasks", "optimizer", "lr", "rho")
MOST = 24  # the maximum number of rhos, or of learning rates, in a readable grid
PANELS = 6  # the maximum number of panels of a metric
RING = "#D55E00"  # the color of the ring around the best setting

# All sizes are in inches.
CELL = (0.315, 0.27)  # width and height of a cell
# The smallest width of a cell with a number, and of a cell in a line of panels.
READABLE, NARROWEST = 0.26, 0.15
TICK = 0.12  # the smallest distance of two values of rho below a panel
# The space left of the panels, right of the panels, and between two panels.
LEFT, RIGHT, GAP = 0.72, 0.78, 0.14
LINE_GAP = 0.85  # the vertical space between two lines of panels
# The height of a second line of a panel's name, and the size of its font in points.
NAME_LINE, NAME_SIZE = 0.16, 8.5
# Heights: the space above the panels of a metric without the title, a line of the
# title, and the space below the panels.
HEAD, HEAD_LINE, FOOT = 0.34, 0.17, 0.66


def rho_grid(
    frame: pd.DataFrame, metrics: Sequence[str] = SHOWN, measure: str = MEASURE
) -> pd.DataFrame:
    """Return the mean of each metric over the seeds, for each setting.

    Extra seeds, which only a few settings have, are left out, so that all settings are
    compared on the same seeds.

    Returns:
        One row per (metric, setting), with the columns study, setting_id, problem,
        dataset, tasks, optimizer, lr, rho, panel, metric, measure, mean, lo, hi, runs,
        expected, diverged and best. rho is NaN if the optimizer has no rho. panel is
        the name of the setting's panel, for example "GNP alpha 0.5". lo and hi are the
        ends of the 95% t-interval; they are NaN if there are too few runs. best says
        whether the setting has the best late level of its problem (see `winner`), even
        if the metric is a trend: a network that learns nothing can have the best trend.

    Raises:
        UsageError: A metric is unknown; a metric is relative, but no run has the
            intervention "fresh"; no setting has a rho; or there are too many values of
            rho or lr, or too many panels.
    """
    rows: list[dict[str, Any]] = []
    for name in metrics:
        metric = find_metric(name, measure)
        level, plain = metric.level.absolute, by_setting(frame, metric.measure)
        common = common_seeds(plain)
        levels = {problem: group for problem, group, _ in by_problem(plain)}
        for problem, group, _ in by_problem(runs_for(frame, metric)):
            chosen = winner(levels[problem], level, common[group[0].peers])
            panels = panel_names([runs.setting for runs in group])
            for all_runs, panel in zip(group, panels, strict=True):
                runs = all_runs.select_seeds(all_runs.usual_seeds)
                mean, lo, hi = map(float, mean_interval(metric(runs.matrix)))
                rows.append(
                    {
                        "study": runs.study,
                        "setting_id": runs.setting_id,
                        **{column: runs.setting[column] for column in KEPT},
                        "panel": panel,
                        "metric": name,
                        "measure": measure,
                        "mean": mean,
                        "lo": lo,
                        "hi": hi,
                        "runs": len(runs.seeds),
                        "expected": runs.expected,
                        "diverged": len(runs.diverged),
                        "best": chosen is not None and runs.key == chosen.key,
                    }
                )
    data = pd.DataFrame(rows).astype({"rho": float})
    if data["rho"].isna().all():
        raise UsageError(
            "no setting has a rho, so the figure would be empty: choose results of an "
            "optimizer that has a rho, for example SAM"
        )
    if data["lr"].isna().any():
        raise UsageError(
            "a setting has no lr, so it has no place on a map over rho and lr: choose "
            'the settings that have an lr with --where "lr is not null"'
        )
    for column, what, most in (
        ("rho", "values of rho", MOST),
        ("lr", "values of lr", MOST),
        ("panel", "panels", PANELS),
    ):
        if (count := data[column].nunique()) > most:
            raise too_many(count, what, most)
    return data


def panel_names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the panel of each setting: its name without rho and lr, the panel's axes.

    >>> gnp = {"optimizer": "gnp", "lr": 0.1, "rho": 0.05}
    >>> panel_names([{**gnp, "alpha": 0.5}, {**gnp, "alpha": 0.8, "rho": 0.1}])
    ['GNP alpha 0.5', 'GNP alpha 0.8']
    >>> panel_names([gnp, {"optimizer": "sam", "base": "adam", "rho": 0.1}])
    ['GNP', 'SAM adam']
    """
    axes = ("lr", "rho")
    return labels([{n: v for n, v in s.items() if n not in axes} for s in settings])


def metric_of(row: Mapping[Any, Any] | pd.Series[Any]) -> Metric:
    """Return the metric of a row of `rho_grid`."""
    return find_metric(row["metric"], row["measure"])


def display_unit(metric: Metric, tasks: int) -> tuple[float, str]:
    """Return the factor and the unit with which figures show a metric of a stream."""
    factor = MEASURES[metric.measure].scale * metric.steps(tasks)
    return factor, unit_of_level(metric)


def scale_limits(values: Sequence[float], higher: bool) -> tuple[float, float]:
    """Return the limits of a color scale on which good values have different colors.

    A network with a large rho can be very bad. If the scale reached down to its value,
    all good values would have nearly the same color. So the scale starts at the best
    value, and is at most 1.5 times as long as the range of the best 85% of the values.
    All values beyond the bad end of the scale have the color of that end. `higher` says
    whether higher values are better.

    >>> scale_limits([10.0, *range(80, 100)], higher=True)
    (73.5, 99.0)
    """
    sign = 1 if higher else -1
    good = sign * np.asarray(values, dtype=float)
    if not len(good):
        return 0.0, 1.0
    best, worst = float(good.max()), float(good.min())
    end = max(worst, best - 1.5 * (best - float(np.quantile(good, 0.15))))
    if end == best:  # most or all values are equal
        end = worst if worst < best else best - 1
    return (end, best) if higher else (-best, -end)


def slot(name: str, rhos: int, cell: float) -> float:
    """Return the width in inches of a panel with its name; `cell` is a cell's width."""
    widths = [text_width(line, NAME_SIZE) for line in name.split("\n")]
    return max(max(1, rhos) * cell, *widths)


@attrs.frozen
class Grid:
    """The arrangement of the panels of a metric in lines."""

    panels: Mapping[str, Sequence[float]]  # the rhos of each panel, from `panels_of`
    rates: Sequence[float]  # the learning rates, from the bottom row to the top row
    names: Mapping[str, str]  # the name of each panel, in lines that fit the figure
    lines: Sequence[Sequence[str]]  # the panels in each line of panels, from the top
    cell: float  # the width of a cell in inches
    width: float  # the width of the figure in inches

    @classmethod
    def arrange(cls, data: pd.DataFrame, width: float | None) -> Grid:
        """Arrange the panels of `rho_grid` in a figure of `width` inches.

        If `width` is None, all panels stand in one line and the figure is as wide as
        necessary. Otherwise a line has as many panels as possible, as long as each cell
        has room for its number. If one panel alone is too wide, the cells of all panels
        are narrower, and the figure leaves their numbers out.
        """
        panels, rates = panels_of(data), sorted(set(data["lr"]))
        room = np.inf if width is None else width - LEFT - RIGHT
        names = {panel: wrap_text(panel, room, NAME_SIZE) for panel in panels}

        def inches(line: Sequence[str], cell: float) -> float:
            widths = [slot(names[panel], len(panels[panel]), cell) for panel in line]
            return sum(widths) + GAP * (len(line) - 1)

        if width is None:
            needed = LEFT + inches(list(panels), CELL[0]) + RIGHT
            return cls(panels, rates, names, [list(panels)], CELL[0], needed)
        for least in (READABLE, NARROWEST):
            lines: list[list[str]] = []
            for panel in panels:
                if lines and inches([*lines[-1], panel], least) <= room:
                    lines[-1].append(panel)
                else:
                    lines.append([panel])
            # Take the widest cell, up to that of `CELL`, with which every line fits.
            sizes = [least, *(CELL[0] * share for share in np.linspace(1, 0.01, 100))]
            sizes.sort(reverse=True)
            fitting = (c for c in sizes if max(inches(n, c) for n in lines) <= room)
            if (cell := next(fitting, sizes[-1])) >= least:
                break
        return cls(panels, rates, names, lines, cell, width)

    @property
    def panel_height(self) -> float:
        """The height of one panel in inches."""
        return CELL[1] * len(self.rates)

    @property
    def name_room(self) -> float:
        """The height in inches of the second and further lines of panel names."""
        return NAME_LINE * max(name.count("\n") for name in self.names.values())

    @property
    def step(self) -> float:
        """The distance in inches from one line of panels to the next."""
        return self.panel_height + LINE_GAP + self.name_room

    @property
    def height(self) -> float:
        """The height in inches of all lines of panels of one metric."""
        return (len(self.lines) - 1) * self.step + self.panel_height


def panels_of(data: pd.DataFrame) -> dict[str, list[float]]:
    """Return the values of rho of each panel, by the name of the panel.

    All panels with a rho have the same values. The list of an optimizer without rho is
    empty.
    """
    rhos = sorted(set(data["rho"].dropna()))
    has_rho = data.groupby("panel", sort=False)["rho"].count() > 0
    return {str(panel): rhos if has else [] for panel, has in has_rho.items()}


def draw_rho_figure(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return the figure of heat maps: a row per problem and metric.

    A row has a panel per optimizer, or several if the settings of the optimizer differ
    in more than rho and lr. All panels of a row have the same color scale. `data` is as
    `rho_grid` returns it. If `width` is None, the figure is as wide as necessary.
    """
    rows = [
        row
        for _, part in data.groupby("problem", sort=False)
        for _, row in part.groupby("metric", sort=False)
    ]
    grid = Grid.arrange(data, width)
    # The values of rho stand below the last row, or, if rows have several lines of
    # panels, below each row.
    below_each = len(grid.lines) > 1
    row_titles = [_row_title(row, grid.width) for row in rows]
    above = HEAD + HEAD_LINE * max(text.count("\n") + 1 for text in row_titles)
    above += grid.name_room
    step = above + grid.height + (FOOT if below_each else 0.0)
    title = f"Metrics by rho and lr, study {data['study'].iloc[0]}"
    heading = Heading(title, _legend(data), grid.width)
    height = heading.inches + len(rows) * step + (0.0 if below_each else FOOT)
    figure = Figure(figsize=(grid.width, height))
    for i, (row, row_title) in enumerate(zip(rows, row_titles, strict=True)):
        label_rho = below_each or i == len(rows) - 1
        top = height - heading.inches - i * step - above
        figure.text(
            0.1 / grid.width,
            (top + 0.27 + grid.name_room) / height,
            row_title,
            size=_row_title_size(grid.width),
            weight="bold",
        )
        _draw_row(row, figure, grid, top, label_rho=label_rho)
    heading.draw(figure)
    return figure


def _row_title(row: pd.DataFrame, width: float) -> str:
    """Return the title of the panels of a metric, in lines that fit the figure."""
    metric = metric_of(row.iloc[0])
    _, unit = display_unit(metric, row["tasks"].iloc[0])
    better = "higher" if metric.higher else "lower"
    text = f"{describe_stream(row)}: {metric.words} ({unit}), {better} is better"
    return wrap_text(text, width - 0.2, _row_title_size(width), bold=True)


def _row_title_size(width: float) -> float:
    return 8 if width < NARROW else 9.5


def _draw_row(
    row: pd.DataFrame, figure: Figure, grid: Grid, top: float, *, label_rho: bool
) -> None:
    """Draw the panels of one problem and metric.

    `top` is the upper edge of the panels, in inches from the bottom of the figure.
    `label_rho` says whether to write the values of rho below the panels.
    """
    colors, right = colors_of(row), LEFT
    for i, line in enumerate(grid.lines):
        bottom = top - i * grid.step - grid.panel_height
        left = LEFT
        for panel in line:
            width = grid.cell * max(1, len(grid.panels[panel]))
            ax = _add_axes(figure, (left, bottom, width, grid.panel_height))
            part, rhos = row[row["panel"] == panel], grid.panels[panel]
            numbers = grid.cell >= READABLE
            draw_panel(part, ax, rhos, grid.rates, colors, numbers=numbers)
            if len(part):  # the name in lines that fit the figure
                ax.set_title(grid.names[panel], size=NAME_SIZE, pad=3)
            if left > LEFT:
                ax.tick_params(axis="y", left=False, labelleft=False)
            else:
                ax.set_ylabel("learning rate" if grid.panel_height > 0.9 else "lr")
            if not label_rho:
                ax.tick_params(axis="x", bottom=False, labelbottom=False)
                ax.set_xlabel("")
            left += slot(grid.names[panel], len(grid.panels[panel]), grid.cell) + GAP
            right = max(right, left - GAP)
    place = (right + 0.12, top - grid.height, 0.11, grid.height)
    _draw_scale(row, figure, _add_axes(figure, place), colors)


def _add_axes(figure: Figure, inches: tuple[float, float, float, float]) -> Axes:
    """Add axes to a figure; `inches` is their left, bottom, width and height."""
    width, height = figure.get_size_inches()
    left, bottom, across, up = inches
    return figure.add_axes((left / width, bottom / height, across / width, up / height))


def colors_of(row: pd.DataFrame) -> ScalarMappable:
    """Return the color scale of a row of panels, in the unit of `display_unit`."""
    metric = metric_of(row.iloc[0])
    means = (
        display_unit(metric, row["tasks"].iloc[0])[0]
        * row.loc[row["diverged"] == 0, "mean"].dropna()
    )
    limits = Normalize(*scale_limits(means.tolist(), metric.higher))
    return ScalarMappable(limits, "cividis" if metric.higher else "cividis_r")


def draw_panel(
    data: pd.DataFrame,
    ax: Axes,
    rhos: Sequence[float],
    rates: Sequence[float],
    colors: ScalarMappable,
    *,
    numbers: bool = True,
) -> None:
    """Draw one panel: a cell for each setting, over rho and the learning rate.

    If some runs of a setting diverged, its cell is grey and hatched, and shows how many
    diverged, because the mean of the other runs would look too good. A setting that was
    not run has no cell.

    Args:
        data: Rows of `rho_grid` for one study, problem, metric and panel.
        ax: The axes to draw on.
        rhos: The rho of each column; empty for an optimizer without rho.
        rates: The learning rate of each row, from the bottom to the top.
        colors: The color scale, as `colors_of` returns it.
        numbers: Whether to write a number in each cell.
    """
    for cell in data.to_dict("records"):
        corner = (rhos.index(cell["rho"]) if rhos else 0, rates.index(cell["lr"]))
        _draw_cell(cell, ax, corner, colors, numbers=numbers)
    ax.set_xlim(0, max(1, len(rhos)))
    ax.set_ylim(0, len(rates))
    inches = ax.get_window_extent().width / ax.figure.dpi
    each = math.ceil(TICK * len(rhos) / inches) if rhos else 1
    ticks = np.arange(len(rhos))[::each] + 0.5
    ax.set_xticks(ticks, [f"{rho:g}" for rho in rhos[::each]])
    ax.tick_params(axis="x", labelsize=7, labelrotation=90, length=2)
    ax.set_yticks(np.arange(len(rates)) + 0.5, [f"{rate:g}" for rate in rates])
    ax.tick_params(axis="y", labelsize=7.5, length=2)
    ax.grid(visible=False)
    ax.set_facecolor("none")
    ax.spines[:].set_visible(False)
    if len(data):
        ax.set_title(data["panel"].iloc[0], size=NAME_SIZE, pad=3)
    if rhos:
        ax.set_xlabel("rho", labelpad=2)


def _draw_cell(
    cell: Mapping[Any, Any],
    ax: Axes,
    corner: tuple[int, int],
    colors: ScalarMappable,
    *,
    numbers: bool,
) -> None:
    """Draw the cell of a setting: color, number, and a ring if it is the best."""
    scale, _ = display_unit(metric_of(cell), cell["tasks"])
    value = scale * cell["mean"]
    known = not np.isnan(value) and not cell["diverged"]
    color = colors.to_rgba(value) if known else (0.93, 0.93, 0.93, 1.0)
    dark = float(np.dot(color[:3], (0.2126, 0.7152, 0.0722))) < 0.42
    x, y = corner
    fill = Rectangle(corner, 1, 1, facecolor=color, linewidth=0)
    if cell["diverged"]:
        fill.set(hatch="//////", edgecolor=("white" if dark else "0.35", 0.45))
    ax.add_patch(fill)
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=0.8))
    if cell["diverged"]:
        number = f"{cell['diverged']}/{cell['expected']}"
    else:
        number = f"{value:.1f}".replace("-0.0", "0.0") if known else "n/a"
    if numbers:
        text = ax.text(x + 0.5, y + 0.47, number, ha="center", va="center")
        text.set(size=6.3 if len(number) < 5 else 5.6, color="white" if dark else "k")
        if cell["diverged"]:  # An outline makes the number readable on the hatching.
            text.set_path_effects([withStroke(linewidth=2.2, foreground=color)])
    if cell["best"]:
        ring = Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, fill=False, zorder=5)
        ring.set(edgecolor=RING, linewidth=1.8, clip_on=False)
        ring.set_path_effects([Stroke(linewidth=3.4, foreground="white"), Stroke()])
        ax.add_patch(ring)


def _draw_scale(
    row: pd.DataFrame, figure: Figure, ax: Axes, colors: ScalarMappable
) -> None:
    """Draw a row's color scale, with an arrow at an end if values lie beyond it."""
    scale, unit = display_unit(metric_of(row.iloc[0]), row["tasks"].iloc[0])
    means = scale * row["mean"].dropna()
    low, high = colors.get_clim()
    is_beyond = bool((means < low).any()), bool((means > high).any())
    ends = {(True, True): "both", (False, True): "max", (True, False): "min"}
    bar = figure.colorbar(colors, cax=ax, extend=ends.get(is_beyond, "neither"))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.ax.grid(visible=False)
    bar.set_label(unit, size=8)


def _legend(data: pd.DataFrame) -> str:
    """Return a line that explains the colors and the signs of the cells."""
    drawn = data[(data["diverged"] == 0) & (data["runs"] > 0)]
    counts = set(drawn["runs"] if len(drawn) else data["expected"])
    seeds = f"{count_range(counts)} seed{'s' if max(counts) > 1 else ''}"
    if (drawn["runs"] < drawn["expected"]).any():
        expected = count_range(data["expected"])
        seeds += f" of {expected} (the other seeds have no complete run)"
    parts = [f"Mean over {seeds}", "lighter is better"]
    if data["best"].any():
        level = metric_of(data.iloc[0]).level.absolute.words
        parts.append(f"ring: the best {level}")
    if data["diverged"].any():
        parts.append("grey and hatched: diverged/all runs")
    metrics = data.drop_duplicates("metric").to_dict("records")
    if any(metric_of(row).trend for row in metrics):
        parts.append("a network that never learns has nothing to lose")
    return f"{'; '.join(parts)}."


def rho_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return a table of the numbers of `rho_grid` for each problem and metric."""
    sheets = []
    for (problem, _), part in data.groupby(["problem", "metric"], sort=False):
        metric = metric_of(part.iloc[0])
        scale, unit = display_unit(metric, part["tasks"].iloc[0])
        title = f"{problem}: {metric.words}"
        cells: Cells = {
            Column("panel"): value_cell("panel"),
            number("lr"): value_cell("lr"),
            number("rho"): lambda row: "–" if pd.isna(row["rho"]) else show(row["rho"]),
            number("mean", unit): partial(mean_and_half, scale=scale, digits=".2f"),
            number("runs"): lambda row: f"{row['runs']} of {row['expected']}",
            number("diverged"): value_cell("diverged"),
            Column(""): lambda row: "best" if row["best"] else "",
        }
        sheets.append(make_sheet(title, "", cells, part.to_dict("records")))
    return sheets


FIGURE = Picture(
    title="Metrics by rho and learning rate (lr)",
    meaning="late accuracy and plasticity loss over rho and learning rate: a heat map "
    "per optimizer",
    columns=(MEASURE,),
    data=lambda frame, view, columns: rho_grid(frame, view.metrics, view.measure),
    draw=draw_rho_figure,
    numbers=rho_sheets,
    metrics=SHOWN,
    any_measure=True,
)
