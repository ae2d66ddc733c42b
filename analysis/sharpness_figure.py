"""The figure of sharpness by task, with what else may tell of plasticity.

Lyle et al. 2023 (arXiv 2303.01486) see sharpness grow where plasticity is lost; beside
it stand what else the field watches, and the accuracy that all of it should tell of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.style import LINES, line_looks
from trainables.command_line import UsageError

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


def measures_by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each of `MEASURES` by task, with its 95% t-band.

    Over the runs that went through the whole stream without diverging; the band is
    pointwise. A task on which something was not measured has no row of it.

    Args:
        frame: Records with `analysis.runs.NEEDED` and `MEASURES`.

    Returns:
        Rows by (study, setting, measure, task): study, setting_id, problem, dataset,
        optimizer, lr, label, runs, expected, tasks, measure, task, mean, lo, hi.
    """
    import pandas as pd

    from analysis.intervals import mean_interval
    from analysis.runs import by_setting, labels, matrices

    found = [runs for runs in by_setting(frame) if runs.seeds]
    parts = []
    for problem in dict.fromkeys(runs.setting["problem"] for runs in found):
        group = [runs for runs in found if runs.setting["problem"] == problem]
        names = labels([runs.setting for runs in group])
        every = matrices(frame, group, list(MEASURES))
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
    return pd.concat(parts, ignore_index=True)


def draw_measures(data: pd.DataFrame) -> Figure:
    """Return a figure of `measures_by_task`: six panels a problem.

    Raises:
        UsageError: A panel would have more lines than can be told apart.
    """
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(data["problem"]))
    figure = Figure(figsize=(8.2, 0.5 + 4.6 * len(problems)), layout="constrained")
    blocks = np.atleast_1d(figure.subfigures(len(problems), 1, squeeze=False)[:, 0])
    for problem, block in zip(problems, blocks, strict=True):
        part = data[data["problem"] == problem]
        grid = block.subplots(2, ACROSS, sharex=True).ravel()
        for measure, ax in zip(MEASURES, grid, strict=True):
            draw_measure(part, measure, ax)
        for ax in grid[ACROSS:]:
            ax.set_xlabel("task")
        spans = " or ".join(map(str, sorted(set(part["tasks"].tolist()))))
        sets = ", ".join(sorted(set(part["dataset"].tolist())))
        block.suptitle(f"{problem} ({sets}, {spans} tasks)", size=10, weight="bold")
        handles, names = grid[0].get_legend_handles_labels()
        block.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=8.5,
        )
    counts = sorted(set(data["runs"].tolist()))
    several = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    said = f"study {data['study'].iloc[0]}: mean over {several} seeds; "
    figure.suptitle(said + "band: its 95% t-interval, task by task", size=9, x=0.5)
    return figure


def draw_measure(data: pd.DataFrame, measure: str, ax: Axes) -> None:
    """Draw one measure of one problem of `measures_by_task`, a line a setting.

    Args:
        data: Rows of one study and one problem.
        measure: One of `MEASURES`.
        ax: Where.

    Raises:
        UsageError: There are more lines than can be told apart.
    """
    from matplotlib.ticker import MaxNLocator

    settings = data.drop_duplicates("setting_id")
    if len(settings) > LINES:
        raise UsageError(
            f"{settings['problem'].iloc[0]} has {len(settings)} settings, and no more "
            f"than {LINES} lines can be told apart: choose some with --setting ID "
            "(table --format csv has them)"
        )
    pairs = list(zip(settings["optimizer"], settings["lr"], strict=True))
    looks = line_looks(pairs, sorted(set(settings["lr"].tolist()), reverse=True))
    scale = 100 if "%" in MEASURES[measure] else 1
    drawn = data[data["measure"] == measure]
    for setting, look in zip(settings.to_dict("records"), looks, strict=True):
        part = drawn[drawn["setting_id"] == setting["setting_id"]]
        _draw_line(part, f"{setting['label']}{_few(setting)}", scale, look, ax)
    ax.set_ylabel(MEASURES[measure])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if drawn.empty:
        ax.annotate("not measured", (0.5, 0.5), xycoords="axes fraction", ha="center")
    elif measure in LOGARITHMIC and (drawn["mean"] > 0).all():
        ax.set_yscale("log")
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
