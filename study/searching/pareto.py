"""Draw the Pareto front of a search with two objectives."""

from __future__ import annotations

from pathlib import Path

import optuna

from analysis.figures.style import COLOURS, FORMATS, SPARE, STYLE, render
from analysis.records.write import write_file
from study.searching.journal import REQUEST, SETTING
from trainables.usage import UsageError

AXIS_LABELS = {
    "mean_accuracy": "mean test accuracy over the stream (more is better)",
    "plasticity_loss": "plasticity loss (less is better)",
}


def draw_front(study: optuna.Study, suffix: str) -> bytes:
    """Return a picture of all trials; equal trials give equal bytes.

    Args:
        study: Optuna's study.
        suffix: One of `FORMATS`.

    Raises:
        UsageError: There are not two objectives, or no trial is complete.
    """
    names = list(study.user_attrs[REQUEST]["objectives"])
    if len(names) != 2:
        raise UsageError(
            f"a front has two objectives, this search has {', '.join(names)}: give "
            "--objective mean_accuracy,plasticity_loss and another --results"
        )
    complete = (optuna.trial.TrialState.COMPLETE,)
    trials = study.get_trials(deepcopy=False, states=complete)
    if not trials:
        raise UsageError("no trial has ended yet: there is nothing to draw")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    front = sorted(study.best_trials, key=lambda trial: trial.values)
    front_numbers = {trial.number for trial in front}
    optimizers = sorted({trial.user_attrs[SETTING]["optimizer"] for trial in trials})
    others = [name for name in optimizers if name not in COLOURS]
    colours = COLOURS | dict(zip(others, SPARE, strict=False))
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2))
        ax = figure.add_subplot()
        for name in optimizers:
            ax.scatter([], [], s=34, color=colours[name], label=name.upper())
        for trial in trials:
            on_front = trial.number in front_numbers
            x, y = trial.values
            ax.scatter(
                x,
                y,
                s=34 if on_front else 16,
                color=colours[trial.user_attrs[SETTING]["optimizer"]],
                alpha=1.0 if on_front else 0.35,
                linewidths=0,
            )
            if on_front:
                ax.annotate(
                    str(trial.number),
                    (trial.values[0], trial.values[1]),
                    (4, 3),
                    textcoords="offset points",
                    size=7.5,
                )
        more_is_better = study.directions[0].name == "MAXIMIZE"
        ax.step(
            *zip(*(trial.values for trial in front), strict=True),
            where="pre" if more_is_better else "post",
            color="0.6",
            linewidth=0.8,
        )
        ax.set_xlabel(AXIS_LABELS.get(names[0], names[0]))
        ax.set_ylabel(AXIS_LABELS.get(names[1], names[1]))
        ax.legend(frameon=False, title="pale: not on the front", title_fontsize=8)
        return render(figure, suffix)


def write_front(study: optuna.Study, file: str) -> None:
    """Draw the front into a file, whose suffix is its format.

    Raises:
        UsageError: The suffix is unknown, there is no front, or the file cannot be
            written.
    """
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"cannot draw {file}: its suffix must be one of {known}")
    write_file(file, draw_front(study, suffix))
