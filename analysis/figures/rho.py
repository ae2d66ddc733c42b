"""The heat maps of a sweep of rho: a metric over rho and learning rate.

The colours are cividis, which readers with and without colour blindness see alike
(Nunez, Anderton & Renslow 2018) and which is ordered in grey too. Lighter is better,
whichever way the metric goes.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pandas as pd

from analysis.comparing.fresh import runs_for
from analysis.comparing.winners import common_seeds, winner
from analysis.figures.by_task import describe_stream, mean_and_half
from analysis.figures.picture import NARROW, Picture, draw_title
from analysis.records.runs import by_problem, show, varying_columns
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import Metric, find_metric
from analysis.tables.formats import Column, Row, Sheet, make_sheet, number
from analysis.tables.words import count_range, too_many, value_cell
from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

SHOWN = ("plasticity_loss", "mean_accuracy")
KEPT = ("problem", "dataset", "tasks", "optimizer", "lr", "rho")  # columns of the data
MOST = 24  # the most values of rho or of the learning rate in a readable grid
PANELS = 6  # the most panels of a metric
RING = "#D55E00"

# In inches:
CELL = (0.315, 0.27)  # width and height of a cell
READABLE, NARROWEST = 0.26, 0.17  # the least width for a number, and the least at all
LEFT, RIGHT, GAP = 0.72, 0.78, 0.14  # left of the panels, right of them, between them
LINE_GAP = 0.85  # between lines of panels
TITLE, HEAD, FOOT = 0.42, 0.6, 0.66  # for the title, above and below a metric's panels


def rho_grid(frame: pd.DataFrame, metrics: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Return the mean of each metric and setting over the seeds.

    Seeds that only few settings have, to confirm a winner, are left out: they would
    make these settings look better or worse than the others.

    Args:
        frame: Records with `analysis.records.runs.NEEDED` and test_accuracy.
        metrics: Names known to `find_metric`.

    Returns:
        One row per (metric, setting): study, setting_id, problem, dataset, tasks,
        optimizer, lr, rho (NaN if it has none), panel (the optimizer and what else
        distinguishes the setting, as "GNP alpha 0.5"), metric, mean, lo, hi (of the 95%
        t-interval; NaN where there are too few runs), runs, expected, diverged, and
        best: whether it is the `winner` of its problem by this metric.

    Raises:
        UsageError: A metric is unknown, or is relative and there are no fresh networks;
            no setting has a rho; or there are too many values or panels.
    """
    rows: list[dict[str, Any]] = []
    for name in metrics:
        metric = find_metric(name)
        settings = runs_for(frame, metric)
        common = common_seeds(settings)
        for _, group, _ in by_problem(settings):
            best = winner(group, metric, set.union(*(common[r.peers] for r in group)))
            panels = panel_names([runs.setting for runs in group])
            for all_runs, panel in zip(group, panels, strict=True):
                usual = all_runs.present | set(all_runs.missing)
                runs = all_runs.select_seeds(usual - set(all_runs.extra))
                mean, lo, hi = map(float, mean_interval(metric(runs.matrix)))
                rows.append(
                    {
                        "study": runs.study,
                        "setting_id": runs.setting_id,
                        **{column: runs.setting[column] for column in KEPT},
                        "panel": panel,
                        "metric": name,
                        "mean": mean,
                        "lo": lo,
                        "hi": hi,
                        "runs": len(runs.seeds),
                        "expected": runs.expected,
                        "diverged": len(runs.diverged),
                        "best": best is not None and runs.key == best.key,
                    }
                )
    data = pd.DataFrame(rows).astype({"rho": float})
    if data["rho"].isna().all():
        raise UsageError("no setting has a rho: there is nothing to draw over it")
    for column, what, most in (
        ("rho", "values of rho", MOST),
        ("lr", "values of lr", MOST),
        ("panel", "panels", PANELS),
    ):
        if (count := data[column].nunique()) > most:
            raise too_many(count, what, most)
    return data


def panel_names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return what distinguishes each setting besides rho and the learning rate.

    >>> gnp = {"optimizer": "gnp", "lr": 0.1, "rho": 0.05}
    >>> panel_names([{**gnp, "alpha": 0.5}, {**gnp, "alpha": 0.8, "rho": 0.1}])
    ['GNP alpha 0.5', 'GNP alpha 0.8']
    """
    by_optimizer: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for setting in settings:
        by_optimizer[setting["optimizer"]].append(setting)
    names = []
    for setting in settings:
        differing = varying_columns(by_optimizer[setting["optimizer"]])
        parts = [
            f"{name} {show(setting[name])}"
            for name in differing
            if name not in ("problem", "lr", "rho") and setting[name] is not None
        ]
        names.append(" ".join([setting["optimizer"].upper(), *parts]))
    return names


def display_unit(metric: Metric) -> tuple[float, str]:
    """Return what a metric is multiplied by for display, and its unit then."""
    if metric.per_task:
        return 1e4, "pp per 100 tasks"
    return 100.0, "pp" if metric.relative or not metric.higher else "%"


def scale_limits(values: Sequence[float], higher: bool) -> tuple[float, float]:
    """Return the limits of a colour scale that resolves the good values.

    A large rho ruins a network; a scale down to such values would show nothing else.
    So the scale starts at the best value and is at most 1.5 times as long as the range
    of the best 85% of the values. Worse values have the colour of its end.

    Args:
        values: In any unit.
        higher: Whether more is better.

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


@attrs.frozen
class Grid:
    """How the panels of a metric are arranged."""

    panels: Mapping[str, Sequence[float]]  # as `panels_of` returns them
    rates: Sequence[float]  # the learning rates, from below
    lines: Sequence[Sequence[str]]  # the panels beside each other, from the top
    cell: float  # the width of a cell in inches
    width: float  # of the figure in inches

    @classmethod
    def arrange(cls, data: pd.DataFrame, width: float | None) -> Grid:
        """Return the grid of a `rho_grid`; as wide as it needs if `width` is None.

        Otherwise as many panels stand beside each other as leave room for numbers.
        """
        panels = panels_of(data)
        names, rates = list(panels), sorted(set(data["lr"]))

        def cells(line: Sequence[str]) -> int:
            return sum(max(1, len(panels[name])) for name in line)

        if width is None:
            inches = cells(names) * CELL[0] + GAP * (len(names) - 1)
            return cls(panels, rates, [names], CELL[0], LEFT + inches + RIGHT)
        room = width - LEFT - RIGHT
        for beside in range(len(names), 0, -1):
            lines = [names[i : i + beside] for i in range(0, len(names), beside)]
            cell = min((room - GAP * (len(line) - 1)) / cells(line) for line in lines)
            if cell >= READABLE:
                break
        cell = min(CELL[0], max(NARROWEST, cell))
        return cls(panels, rates, lines, cell, width)

    @property
    def panel_height(self) -> float:
        """The height of a panel in inches."""
        return CELL[1] * len(self.rates)

    @property
    def height(self) -> float:
        """The height of all panels of a metric in inches."""
        return len(self.lines) * (self.panel_height + LINE_GAP) - LINE_GAP


def panels_of(data: pd.DataFrame) -> dict[str, list[float]]:
    """Return the panels in order, with the values of rho of each; it may have none."""
    rhos = sorted(set(data["rho"].dropna()))
    has_rho = data.groupby("panel", sort=False)["rho"].count() > 0
    return {str(panel): rhos if has else [] for panel, has in has_rho.items()}


def draw_rho_figure(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `rho_grid`: a row per metric, a panel per optimizer.

    All panels of a row share the colour scale.
    """
    from matplotlib.figure import Figure

    rows = [
        row
        for _, part in data.groupby("problem", sort=False)
        for _, row in part.groupby("metric", sort=False)
    ]
    grid = Grid.arrange(data, width)
    separate = len(grid.lines) > 1  # each row needs its own axis of rho
    step = HEAD + grid.height + (FOOT if separate else 0.0)
    title = TITLE if width is None else 0.0
    figure = Figure(figsize=(grid.width, title + len(rows) * step + FOOT))
    top = figure.get_figheight() - title
    for i, row in enumerate(rows):
        last = separate or i == len(rows) - 1
        _draw_row(row, figure, grid, top - i * step - HEAD, label_rho=last)
    if width is None:
        study = data["study"].iloc[0]
        draw_title(figure, f"Over rho and learning rate, study {study}", _legend(data))
    return figure


def _draw_row(
    row: pd.DataFrame, figure: Figure, grid: Grid, top: float, *, label_rho: bool
) -> None:
    """Draw the panels of one problem and metric, `top` inches from below."""
    colours = colours_of(row)
    for i, line in enumerate(grid.lines):
        bottom = top - i * (grid.panel_height + LINE_GAP) - grid.panel_height
        left = LEFT
        for panel in line:
            width = grid.cell * max(1, len(grid.panels[panel]))
            ax = _add_axes(figure, (left, bottom, width, grid.panel_height))
            part = row[row["panel"] == panel]
            numbers = grid.cell >= READABLE
            draw_panel(
                part, ax, grid.panels[panel], grid.rates, colours, numbers=numbers
            )
            if left > LEFT:
                ax.set_yticklabels([])
            else:
                ax.set_ylabel("learning rate")
            if not label_rho:
                ax.set_xticklabels([])
                ax.set_xlabel("")
            left += width + GAP
    place = (grid.width - RIGHT + 0.12, top - grid.height, 0.11, grid.height)
    _draw_scale(row, figure, _add_axes(figure, place), colours)
    narrow = grid.width <= NARROW
    metric = row["metric"].iloc[0]
    better = "higher" if find_metric(metric).higher else "lower"
    head = f"{describe_stream(row)}: {metric.replace('_', ' ')}, {better} is better"
    figure.text(
        0.1 / grid.width,
        (top + 0.27) / figure.get_figheight(),
        head.replace(": ", ":\n", 1) if narrow else head,
        size=8 if narrow else 9.5,
        weight="bold",
    )


def _add_axes(figure: Figure, inches: tuple[float, float, float, float]) -> Axes:
    """Return axes at left, bottom, width and height in inches."""
    width, height = figure.get_size_inches()
    left, bottom, across, up = inches
    return figure.add_axes((left / width, bottom / height, across / width, up / height))


def colours_of(row: pd.DataFrame) -> ScalarMappable:
    """Return the colours of the values of a row, in the metric's `display_unit`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    metric = find_metric(row["metric"].iloc[0])
    means = display_unit(metric)[0] * row.loc[row["diverged"] == 0, "mean"].dropna()
    limits = Normalize(*scale_limits(means.tolist(), metric.higher))
    return ScalarMappable(limits, "cividis" if metric.higher else "cividis_r")


def draw_panel(
    data: pd.DataFrame,
    ax: Axes,
    rhos: Sequence[float],
    rates: Sequence[float],
    colours: ScalarMappable,
    *,
    numbers: bool = True,
) -> None:
    """Draw one panel of `rho_grid`: a cell per setting.

    A setting of which runs diverged is hatched, with their number; its colour is the
    mean of the others, or grey. A setting that was not run has no cell.

    Args:
        data: Rows of one study, problem, metric and panel.
        ax: The axes.
        rhos: The columns; none for an optimizer without rho.
        rates: The rows, from below.
        colours: As `colours_of` returns them.
        numbers: Whether there is room for a number in a cell.
    """
    for cell in data.to_dict("records"):
        corner = (rhos.index(cell["rho"]) if rhos else 0, rates.index(cell["lr"]))
        _draw_cell(cell, ax, corner, colours, numbers=numbers)
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


def _draw_cell(
    cell: Mapping[Any, Any],
    ax: Axes,
    corner: tuple[int, int],
    colours: ScalarMappable,
    *,
    numbers: bool,
) -> None:
    """Draw one setting: its colour, its number, and a ring if it is the best."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Stroke, withStroke

    scale, _ = display_unit(find_metric(cell["metric"]))
    value = scale * cell["mean"]
    known = not np.isnan(value)
    colour = colours.to_rgba(value) if known else (0.93, 0.93, 0.93, 1.0)
    dark = float(np.dot(colour[:3], (0.2126, 0.7152, 0.0722))) < 0.42
    x, y = corner
    fill = Rectangle(corner, 1, 1, facecolor=colour, linewidth=0)
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
        if cell["diverged"]:  # the hatching would make it hard to read
            text.set_path_effects([withStroke(linewidth=2.2, foreground=colour)])
    if cell["best"]:
        ring = Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, fill=False, zorder=5)
        ring.set(edgecolor=RING, linewidth=1.8, clip_on=False)
        ring.set_path_effects([Stroke(linewidth=3.4, foreground="white"), Stroke()])
        ax.add_patch(ring)


def _draw_scale(
    row: pd.DataFrame, figure: Figure, ax: Axes, colours: ScalarMappable
) -> None:
    """Draw the colour scale of a row, pointed at an end that cells lie beyond."""
    scale, unit = display_unit(find_metric(row["metric"].iloc[0]))
    means = scale * row["mean"].dropna()
    low, high = colours.get_clim()
    beyond = bool((means < low).any()), bool((means > high).any())
    ends = {(True, True): "both", (False, True): "max", (True, False): "min"}
    bar = figure.colorbar(colours, cax=ax, extend=ends.get(beyond, "neither"))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.ax.grid(visible=False)
    bar.set_label(unit, size=8)


def _legend(data: pd.DataFrame) -> str:
    """Return what the colours and signs of the cells mean."""
    counts = set(data["expected"])
    seeds = f"{count_range(counts)} seed{'s' if max(counts) > 1 else ''}"
    parts = [f"Mean over {seeds}", "lighter is better"]
    if data["best"].any():
        parts.append("ring: the best")
    if data["diverged"].any():
        parts.append("hatched: this many runs diverged, colour of the others")
    return "; ".join(parts)


def rho_sheets(data: pd.DataFrame) -> list[Sheet]:
    """Return the numbers of `rho_grid` as a sheet for each problem and metric."""
    sheets = []
    for (problem, name), part in data.groupby(["problem", "metric"], sort=False):
        scale, unit = display_unit(find_metric(str(name)))
        title = f"{problem}: {str(name).replace('_', ' ')}"
        cells: dict[Column, Callable[[Row], str]] = {
            Column("panel"): value_cell("panel"),
            number("lr"): value_cell("lr"),
            number("rho"): lambda row: "–" if pd.isna(row["rho"]) else show(row["rho"]),
            number("mean", unit): functools.partial(
                mean_and_half, scale=scale, digits=".2f"
            ),
            number("runs"): lambda row: f"{row['runs']} of {row['expected']}",
            number("diverged"): value_cell("diverged"),
            Column(""): lambda row: "best" if row["best"] else "",
        }
        sheets.append(make_sheet(title, "", cells, part.to_dict("records")))
    return sheets


FIGURE = Picture(
    title="Over rho and the learning rate",
    meaning="plasticity loss and mean accuracy over rho and learning rate: a heat map "
    "per optimizer",
    columns=("test_accuracy",),
    data=lambda frame, metrics, columns: rho_grid(frame, metrics),
    draw=draw_rho_figure,
    numbers=rho_sheets,
    metrics=SHOWN,
    cropped=True,
)
