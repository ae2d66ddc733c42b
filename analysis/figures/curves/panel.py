"""A panel: the lines and bands of one measurement, and an axis that fits them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import LogFormatter, MaxNLocator

from analysis.figures.curves.looks import line_looks, rates_of, rates_of_rows
from analysis.figures.labels import End
from analysis.figures.picture import escape_text, too_many
from analysis.statistics.intervals import Reals

LOGARITHMIC = ("start_sharpness", "sharpness")
"""Measurements on a logarithmic axis, because sharpness spans several powers of 10."""

FEW = 24  # a line over at most this many tasks has a dot at each task

LINES = 12
"""The maximum number of lines in a panel. Readers cannot tell more lines apart."""


@attrs.frozen(kw_only=True)
class Kind:
    """What the curves of a figure show, and how they are drawn."""

    signed: bool = False  # whether curves are differences; then a line marks zero
    one_scale: bool = False  # whether all panels with the same unit have the same axis
    most: int = LINES  # the maximum number of lines in a panel
    band: str = "95% t-interval at each task"
    note: str = ""  # a sentence that explains the figure


BY_TASK = Kind()


@attrs.frozen(kw_only=True, eq=False)
class Panel:
    """The rows of a panel, and the axis that fits them."""

    part: pd.DataFrame  # rows of `by_task` for one problem and one measurement
    kind: Kind

    @functools.cached_property
    def scale(self) -> float:
        """The factor for all numbers; see `scale_of`."""
        return scale_of("".join(self.part["title"].head(1)))

    @functools.cached_property
    def drawn(self) -> pd.DataFrame:
        """The rows of settings with complete runs."""
        return self.part[self.part["runs"] > 0]

    @functools.cached_property
    def lines(self) -> Reals:
        """The values of all lines, in the unit of the axis."""
        seeds = list(itertools.chain.from_iterable(self.drawn["seed_values"]))
        return self.scale * np.array([*self.drawn["mean"], *seeds], dtype=float)

    @functools.cached_property
    def logarithmic(self) -> bool:
        """Whether the axis is logarithmic."""
        names = set(self.drawn["measure"])
        return bool(names and names <= set(LOGARITHMIC) and self.lines.min() > 0)

    @functools.cached_property
    def wide(self) -> frozenset[str]:
        """The setting_ids whose bands take more than two thirds of the axis at a task.

        These bands are left out, because they would fill the axis.
        """
        limits = self._limits(self._ends(self.drawn))
        wide = set()
        for name, own in self.curves():
            ends = np.array([limits, *self._ends(own)])
            if self.logarithmic:
                ends = np.log(np.maximum(ends, 1e-300))
            axis, *widths = ends[:, 1] - ends[:, 0]
            if np.max(widths) / 2 > axis / 3:  # false if there is no band (NaN)
                wide.add(name)
        return frozenset(wide)

    @functools.cached_property
    def crowded(self) -> frozenset[str]:
        """The setting_ids whose bands cover two other lines at most of their tasks.

        These bands are left out: three bands on top of each other cannot be told apart.
        """
        means = self.drawn.pivot_table("mean", "task", "setting_id")
        crowded = set()
        for name, own in self.curves():
            others = means.drop(columns=name).reindex(own["task"]).to_numpy()
            lo, hi = own[["lo", "hi"]].to_numpy(dtype=float).T[:, :, None]
            covered = ((others >= lo) & (others <= hi)).sum(axis=1)
            if (covered > 1).mean() > 0.5:
                crowded.add(name)
        return frozenset(crowded)

    @functools.cached_property
    def without_band(self) -> frozenset[str]:
        """The setting_ids whose bands are left out: `wide` and `crowded`."""
        return self.wide | self.crowded

    @functools.cached_property
    def limits(self) -> tuple[float, float]:
        """The limits of the axis, in its unit.

        The axis contains all lines. It extends beyond them by at most three quarters of
        their range, and cuts off wider bands.
        """
        return self._limits(
            self._ends(self.drawn[~self.drawn["setting_id"].isin(self.without_band)])
        )

    def _limits(self, bands: Reals) -> tuple[float, float]:
        """Return the limits of the axis; `bands` has shape (points, 2)."""
        if not len(self.lines):
            return 0.0, 1.0
        low, high = float(self.lines.min()), float(self.lines.max())
        if not self.lines.any():  # all numbers are 0
            return -1.0 if self.kind.signed else 0.0, 1.0
        if self.logarithmic:
            return low / 1.6, high * 1.6
        if self.kind.signed:
            low, high = min(low, 0.0), max(high, 0.0)
        room = max(high - low, 0.01 * abs(high), 2e-9)
        below = np.fmin.reduce([*bands[:, 0], low])
        above = np.fmax.reduce([*bands[:, 1], high])
        bottom = low - float(np.clip(1.05 * (low - below), 0.1 * room, 0.75 * room))
        top = high + float(np.clip(1.05 * (above - high), 0.1 * room, 0.75 * room))
        if self.kind.signed:
            return bottom, top
        bottom = bottom if low < 0 else max(0.0, bottom)
        return bottom, min(100.5, top) if self.scale == 100 else top

    def is_cut(self, own: pd.DataFrame) -> bool:
        """Return whether a part of the band of a setting lies outside the axis."""
        ends = self._ends(own)
        return bool(
            (ends[:, 0] < self.limits[0]).any() | (ends[:, 1] > self.limits[1]).any()
        )

    def _ends(self, own: pd.DataFrame) -> Reals:
        """Return the ends of the band in some rows, in the unit of the axis."""
        return self.scale * own[["lo", "hi"]].to_numpy(dtype=float)

    def curves(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the ID and the rows of each setting with complete runs."""
        for name, own in self.drawn.groupby("setting_id", sort=False):
            yield str(name), own


def scale_of(title: str) -> float:
    """Return the factor for numbers with the unit of a title.

    >>> scale_of("accuracy (%)"), scale_of("difference (pp)"), scale_of("loss (nats)")
    (100, 100, 1)
    """
    return 100 if title.endswith(("(%)", "(pp)")) else 1


def name_line(setting: Mapping[Any, Any]) -> str:
    """Return the label of a line, with the number of complete runs if some are not."""
    name = escape_text(setting["label"])
    if setting["runs"] < setting["expected"]:
        name += f" ({setting['runs']} of {setting['expected']})"
    return name


def draw_measure(
    part: pd.DataFrame,
    measure: str,
    ax: Axes,
    rates: Sequence[float] | None = None,
    kind: Kind = BY_TASK,
) -> list[End]:
    """Draw one measurement by task on axes, and return the ends of its lines.

    `part` has the rows of `by_task` for one problem, which has a line per setting.
    `rates` are the learning rates, as in `line_looks`; None means those in `part`.

    Raises:
        UsageError: `part` has more than `kind.most` settings.
    """
    if (count := part["setting_id"].nunique()) > kind.most:
        raise too_many(count, f"settings of {part['problem'].iloc[0]}", kind.most)
    panel = Panel(part=part[part["measure"] == measure], kind=kind)
    rates = rates_of(part) if rates is None else rates
    if kind.signed:
        ax.axhline(0, color="0.35", linewidth=0.8)
    ends = draw_lines(panel, part, ax, rates)
    first, last = int(part["task"].min()), int(part["task"].max())
    if last > first:
        room = 0.01 * (last - first)
        ax.set_xlim(first - room, last + room)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    else:
        ax.set_xticks([first])
    if not ends:
        ax.set_yticks([])
        ax.annotate("no data", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return ends
    if panel.logarithmic:
        ax.set_yscale("log")
        # Write 20 and not 2 x 10^1, which is wider. Label the minor ticks too, because
        # the axis has few powers of ten.
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter())
    ax.set_ylim(panel.limits)
    return ends


def draw_lines(
    panel: Panel, part: pd.DataFrame, ax: Axes, rates: Sequence[float]
) -> list[End]:
    """Draw the mean, the seeds and the 95% band of each setting with complete runs.

    `part` has the rows of all measurements, not only those of the panel, and `rates`
    are as in `line_looks`. So a setting looks the same in all panels. Return the ends
    of the lines.
    """
    chosen = part[part["runs"] > 0].drop_duplicates("setting_id")
    settings = chosen.to_dict("records")
    pairs = list(zip(chosen["optimizer"], rates_of_rows(chosen), strict=True))
    rows, ends = dict(panel.curves()), []
    for setting, look in zip(settings, line_looks(pairs, rates), strict=True):
        own = rows.get(setting["setting_id"])
        if own is None:
            continue
        name, task = name_line(setting), own["task"].to_numpy()
        band = panel.scale * own[["mean", "lo", "hi"]].to_numpy(dtype=float)
        marker = "o" if len(own) <= FEW else None
        ax.plot(task, band[:, 0], label=name, marker=marker, markersize=2.5, **look)
        color = look["color"]
        seeds = panel.scale * np.array(own["seed_values"].tolist(), dtype=float)
        lines = [np.column_stack([task, seed]) for seed in seeds.T]
        ax.add_collection(
            LineCollection(lines, colors=color, linewidths=0.5, alpha=0.35)
        )
        if setting["setting_id"] not in panel.without_band:
            ax.fill_between(task, *band[:, 1:].T, color=color, alpha=0.1, lw=0)
        if len(own) == 1:  # A band over one task has no width: draw a vertical line.
            ax.vlines(task, *band[:, 1:].T, color=color, lw=0.8)
        ends.append(End(float(band[-1, 0]), name, look))
    return ends
