"""The figure of a relation: how a probe before a task goes with accuracy on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures.style import NARROW, plain
from trainables.usage import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PROBES = ("start_sharpness",)

MOST = 40
"""The most rows that a panel can be read with."""


def relation_by_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `analysis.comparing.relations.relation` of `PROBES`, if there is any.

    Raises:
        UsageError: The probe was measured nowhere, or on too few tasks, or there are
            more settings than rows can be read.
    """
    from analysis.comparing.relations import LEAST, relation

    (probe,) = PROBES
    if frame[probe].isna().all():
        raise UsageError(
            f"{probe} was not measured: run the study with --probe-every 1"
        )
    data = relation(frame, PROBES)
    if data["spearman"].isna().all():
        raise UsageError(
            f"{probe} was measured on too few tasks, or of too few runs: a correlation "
            f"needs {LEAST} tasks after the first (--probe-every 1 measures every one)"
        )
    if (count := data["setting_id"].nunique()) > MOST:
        raise UsageError(
            f"there are {count} settings, and no more than {MOST} rows can be read: "
            "choose some with --where or --setting ID"
        )
    return data


def draw_relation(data: pd.DataFrame, width: float | None = None) -> Figure:
    """Return a figure of `relation_by_setting`: a panel a problem, a row a setting.

    A dot is the mean over seeds of Spearman's correlation within runs, its bar the 95%
    t-interval; the hollow dot the partial one, given the task's number.
    """
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(data["problem"]))
    rows = data.groupby("problem", sort=False)["label"].size()
    wide = width or 7.0
    left = 1.15 if wide < NARROW else 1.75
    height = 0.4 + sum(0.62 + 0.2 * count for count in rows)
    figure = Figure(figsize=(wide, height))
    top = height - 0.25
    for problem in problems:
        part = data[data["problem"] == problem].reset_index(drop=True)
        tall = 0.2 * len(part)
        top -= 0.1 + tall
        ax = figure.add_axes(
            (left / wide, top / height, 1 - (left + 0.15) / wide, tall / height)
        )
        top -= 0.52
        for name, shift, face in (
            ("spearman", -0.13, "#0072B2"),
            ("partial", 0.13, "none"),
        ):
            at = part.index + shift
            ax.hlines(at, part[f"{name}_lo"], part[f"{name}_hi"], color="#0072B2", lw=1)
            ax.plot(
                part[name],
                at,
                "o",
                markersize=4,
                markerfacecolor=face,
                markeredgecolor="#0072B2",
                label={"spearman": "within", "partial": "given the task"}[name],
            )
        ax.axvline(0, color="0.35", linewidth=0.8)
        ax.set_xlim(-1, 1)
        ax.set_ylim(len(part) - 0.5, -0.5)
        ax.set_yticks(part.index, [plain(label) for label in part["label"]])
        ax.tick_params(axis="y", length=0, labelsize=7.5)
        ax.grid(axis="x")
        ax.set_title(plain(f"{problem} ({part['dataset'].iloc[0]})"))
        ax.set_xlabel("Spearman's correlation with test accuracy")
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="lower right", ncols=2, frameon=False, fontsize=7.5)
    return figure
