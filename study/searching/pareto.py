"""The Pareto front of a search with two objectives, drawn.

A figure is data, then drawing, in the style of `analysis.figures.registry`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd

from analysis.figures.style import COLOURS, FORMATS, SPARE, STYLE
from study.searching.journal import ASKED
from study.searching.proposals import SETTING
from trainables.usage import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = {
    "mean_accuracy": "mean test accuracy over the stream (more is better)",
    "plasticity_loss": "plasticity loss (less is better)",
}


def front_data(study: optuna.Study) -> pd.DataFrame:
    """Return a row a trial: its number, optimizer, objectives, whether on the front."""
    names = study.user_attrs[ASKED]["objectives"]
    front = {trial.number for trial in study.best_trials}
    complete = (optuna.trial.TrialState.COMPLETE,)
    return pd.DataFrame(
        [
            {
                "trial": trial.number,
                "optimizer": trial.user_attrs[SETTING]["optimizer"],
                **dict(zip(names, trial.values, strict=True)),
                "front": trial.number in front,
            }
            for trial in study.get_trials(deepcopy=False, states=complete)
        ]
    )


def draw(ax: Axes, data: pd.DataFrame, names: list[str], more_is_better: bool) -> None:
    """Draw the trials and their front on some axes.

    Args:
        ax: The axes.
        data: Of `front_data`.
        names: The objectives.
        more_is_better: Of the first of them.
    """
    first, second = names
    known = dict(COLOURS)
    others = [kind for kind in data["optimizer"].unique() if kind not in known]
    known |= dict(zip(others, SPARE, strict=False))
    for kind in (kind for kind in known if (data["optimizer"] == kind).any()):
        part = data[data["optimizer"] == kind]
        for on_front, points in part.groupby("front"):
            ax.scatter(
                points[first],
                points[second],
                s=34 if on_front else 16,
                color=known[kind],
                alpha=1.0 if on_front else 0.35,
                linewidths=0,
                label=kind.upper() if on_front or not part["front"].any() else None,
            )
    front = data[data["front"]].sort_values(first)
    where: Any = "pre" if more_is_better else "post"
    ax.step(front[first], front[second], where=where, color="0.6", linewidth=0.8)
    for _, row in front.iterrows():
        place = (row[first], row[second])
        ax.annotate(
            str(row["trial"]), place, (4, 3), textcoords="offset points", size=7.5
        )
    ax.set_xlabel(WORDS.get(first, first))
    ax.set_ylabel(WORDS.get(second, second))
    ax.legend(frameon=False, title="pale: not on the front", title_fontsize=8)


def picture(study: optuna.Study, suffix: str) -> bytes:
    """Return the picture's file; the same trials give the same bytes.

    Raises:
        UsageError: There are not two objectives, or no trials.
    """
    names = list(study.user_attrs[ASKED]["objectives"])
    if len(names) != 2:
        raise UsageError(
            f"a front has two objectives, this search has {', '.join(names)}: give "
            "--objective mean_accuracy,plasticity_loss and another --results"
        )
    data = front_data(study)
    if data.empty:
        raise UsageError("no trial has ended yet: there is nothing to draw")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = io.BytesIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2))
        more = study.directions[0].name == "MAXIMIZE"
        draw(figure.add_subplot(), data, names, more)
        figure.savefig(drawn, format=suffix, **FORMATS[suffix])
    return drawn.getvalue()


def draw_to_file(study: optuna.Study, file: str) -> None:
    """Draw the front into a file, whose suffix is its format.

    Raises:
        UsageError: An unknown suffix, nothing to draw, or it cannot be written there.
    """
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"cannot draw {file}: give it a suffix among {known}")
    content = picture(study, suffix)
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
