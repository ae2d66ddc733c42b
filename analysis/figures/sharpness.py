"""The figure of sharpness by task, with what else may tell of plasticity.

Lyle et al. 2023 (arXiv 2303.01486) see sharpness grow where plasticity is lost; beside
it stand what else the field watches, and the accuracy that all of it should tell of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.style import LINES, NARROW, line_looks, plain
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = {
    "test_accuracy": "test accuracy (%)",
    "start_sharpness": "sharpness before the task",
    "sharpness": "sharpness after the task",
    "dormant_fraction": "dormant units (%)",
    "effective_rank": "effective rank",
    "weight_norm": "weight norm",
}
"""The panels of a problem: columns of the records, and what they are called."""

LOGARITHMIC = ("start_sharpness", "sharpness")
ACROSS = 3
"""Panels side by side."""


def measures_by_task(
    frame: pd.DataFrame, measures: Mapping[str, str] = MEASURES
) -> pd.DataFrame:
    """Return the mean of each measure by task, with its 95% t-band.

    Over the runs that went through the whole stream without diverging; the band is
    pointwise. A task on which something was not measured has no row of it.

    Args:
        frame: Records with `runs.NEEDED`, test_accuracy and the measures.
        measures: Columns of the records, and what they are called.

    Returns:
        Rows by (study, setting, measure, task): study, setting_id, problem, dataset,
        optimizer, lr, label, runs, expected, tasks, measure, task, mean, lo, hi.
    """
    import pandas as pd

    from analysis.records.runs import by_setting, labels, matrices
    from analysis.statistics.intervals import mean_interval

    found = [runs for runs in by_setting(frame) if runs.seeds]
    parts = []
    for problem in dict.fromkeys(runs.setting["problem"] for runs in found):
        group = [runs for runs in found if runs.setting["problem"] == problem]
        names = labels([runs.setting for runs in group])
        every = matrices(frame, group, list(measures))
        for runs, label, measured in zip(group, names, every, strict=True):
            of = runs.setting
            for measure, matrix in measured.items():
                tasks = np.flatnonzero(~np.isnan(matrix).any(axis=0))
                mean, lo, hi = mean_interval(matrix[:, tasks])
                part = {
                    "study": runs.study,
                    "setting_id": runs.setting_id,
                    **{n: of[n] for n in ("problem", "dataset", "optimizer", "lr")},
                    "label": label,
                    "runs": len(runs.seeds),
                    "expected": runs.expected,
                    "tasks": of["tasks"],
                    "measure": measure,
                    "task": tasks,
                    "mean": mean,
                    "lo": lo,
                    "hi": hi,
                }
                parts.append(pd.DataFrame(part))
    if not parts:
        raise UsageError("no setting has a whole run that did not diverge: none drawn")
    data = pd.concat(parts, ignore_index=True)
    if data.empty:
        raise UsageError(f"none of {', '.join(measures)} was measured")
    return data


def draw_measures(
    data: pd.DataFrame,
    width: float | None = None,
    measures: Mapping[str, str] = MEASURES,
) -> Figure:
    """Return a figure of `measures_by_task`: a panel a problem and measure.

    Args:
        data: Of one study.
        width: In inches.
        measures: What is drawn, and what it is called; one that was nowhere made has
            no panel.

    Raises:
        UsageError: A panel would have more lines than can be told apart.
    """
    from matplotlib.figure import Figure

    made = set(data["measure"])
    shown = {name: said for name, said in measures.items() if name in made}
    problems = list(dict.fromkeys(data["problem"]))
    lines = int(data.groupby("problem")["setting_id"].nunique().max())
    sheet = _Sheet(width or 8.2, len(shown), lines)
    figure = Figure(figsize=(sheet.wide, sheet.title + sheet.tall * len(problems)))
    for place, problem in enumerate(problems):
        part = data[data["problem"] == problem]
        grid = [sheet.axes(figure, place, i) for i in range(len(shown))]
        for (measure, said), ax in zip(shown.items(), grid, strict=True):
            draw_measure(part, measure, ax, said)
            if not sheet.title:  # it is as wide as the panel and its ticks
                ax.set_title(said, size=7, x=-0.36)
                ax.tick_params(labelsize=7, which="both")
        for ax in grid[max(0, len(shown) - sheet.across) :]:
            ax.set_xlabel("task")
        spans = " or ".join(map(str, sorted(set(part["tasks"].tolist()))))
        sets = ", ".join(sorted(set(part["dataset"].tolist())))
        top = sheet.top(figure, place)
        head = plain(f"{problem} ({sets}, {spans} tasks)")
        figure.text(0.1 / sheet.wide, top, head, size=9.5, weight="bold", va="top")
        figure.legend(
            *grid[0].get_legend_handles_labels(),
            loc="lower left",
            bbox_to_anchor=(0.08 / sheet.wide, sheet.top(figure, place + 1)),
            ncols=sheet.across,
            frameon=False,
            fontsize=8 if width is None or width > NARROW else 7,
            labelspacing=0.3,
        )
    if sheet.title:
        counts = sorted(set(data["runs"].tolist()))
        several = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        said = f"Study {plain(data['study'].iloc[0])}: mean over {several} seeds; "
        said += "band: its 95% t-interval, task by task"
        top = 1 - 0.1 / figure.get_figheight()
        figure.text(0.1 / sheet.wide, top, said, size=8.5, color="0.35", va="top")
    return figure


class _Sheet:
    """Where the panels stand, in inches: a block a problem, and its legend below."""

    def __init__(self, wide: float, panels: int, lines: int) -> None:
        narrow = wide < NARROW
        self.wide = wide
        self.title = 0.0 if narrow else 0.35
        self.across = min(panels, 2 if narrow else ACROSS)
        self.panel = 1.0 if narrow else 1.3
        self.step = self.panel + 0.5
        down = -(-panels // self.across)
        legend = 0.17 * -(-lines // self.across) + 0.25
        self.tall = 0.35 + down * self.step + 0.1 + legend

    def top(self, figure: Figure, place: int) -> float:
        """Return where a block begins, as a fraction from below."""
        height = figure.get_figheight()
        return float(1 - (self.title + place * self.tall) / height)

    def axes(self, figure: Figure, place: int, panel: int) -> Axes:
        """Return the axes of a panel."""
        height, column = figure.get_figheight(), self.wide / self.across
        row, across = divmod(panel, self.across)
        below = 0.5 + row * self.step + self.panel
        bottom = self.top(figure, place) - below / height
        left = (across * column + 0.5) / self.wide
        size = ((column - 0.65) / self.wide, self.panel / height)
        return figure.add_axes((left, bottom, *size))


def draw_measure(data: pd.DataFrame, measure: str, ax: Axes, said: str) -> None:
    """Draw one measure of one problem of `measures_by_task`, a line a setting.

    Args:
        data: Rows of one study and one problem.
        measure: Which.
        ax: Where.
        said: What it is called.

    Raises:
        UsageError: There are more lines than can be told apart.
    """
    from matplotlib.ticker import LogFormatter, MaxNLocator

    settings = data.drop_duplicates("setting_id")
    if len(settings) > LINES:
        raise UsageError(
            f"{settings['problem'].iloc[0]} has {len(settings)} settings, and no more "
            f"than {LINES} lines can be told apart: choose some with --setting ID "
            "(table --format csv has them)"
        )
    pairs = list(zip(settings["optimizer"], settings["lr"], strict=True))
    looks = line_looks(pairs, sorted(set(settings["lr"].tolist()), reverse=True))
    scale = 100 if "%" in said else 1
    drawn = data[data["measure"] == measure]
    for setting, look in zip(settings.to_dict("records"), looks, strict=True):
        part = drawn[drawn["setting_id"] == setting["setting_id"]]
        _draw_line(part, f"{plain(setting['label'])}{_few(setting)}", scale, look, ax)
    ax.set_title(said, size=8.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if drawn.empty:
        ax.annotate("not measured", (0.5, 0.5), xycoords="axes fraction", ha="center")
    elif measure in LOGARITHMIC and (drawn["mean"] > 0).all():
        ax.set_yscale("log")
        # plain numbers: powers of ten take too much room, and there are few of them
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter())
    if len(drawn):
        _limit(drawn, scale, ax)


def _draw_line(
    part: pd.DataFrame, name: str, scale: int, look: dict[str, Any], ax: Axes
) -> None:
    """Draw one setting: a line, with dots where there are few tasks, and its band."""
    values = scale * part[["mean", "lo", "hi"]].to_numpy(dtype=float)
    marker = "o" if len(part) < 25 else None
    ax.plot(
        part["task"], values[:, 0], label=name, marker=marker, markersize=2.5, **look
    )
    ax.fill_between(
        part["task"], *values[:, 1:].T, color=look["color"], alpha=0.1, lw=0
    )


def _few(setting: dict[Any, Any]) -> str:
    few = setting["runs"] < setting["expected"]
    return f" ({setting['runs']} of {setting['expected']})" if few else ""


def _limit(drawn: pd.DataFrame, scale: int, ax: Axes) -> None:
    """Let the axis show the lines, and of the bands what is near them."""
    mean = scale * drawn["mean"].to_numpy(dtype=float)
    low, high = float(mean.min()), float(mean.max())
    if ax.get_yscale() == "log":
        ax.set_ylim(low / 1.6, high * 1.6)
    else:
        room = max(0.3 * (high - low), 0.02 * abs(high), 1e-9)
        top = min(100.5, high + room) if scale == 100 else high + room
        ax.set_ylim(max(0.0, low - room), top)
