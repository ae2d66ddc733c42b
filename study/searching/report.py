"""Reports on a search: its progress, best trials and important hyperparameters."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from analysis.figures.picture import COLORS, FORMATS, SPARE, STYLE
from analysis.records.write import write_file
from analysis.statistics.metrics import METRICS, Metric
from study.console import console, say
from study.plan.trials import SETTING_HEADER, setting_cells
from study.results.store import Store
from study.searching.journal import REQUEST, SETTING, load_search, setting_of
from trainables.request import Request
from trainables.setting import digest
from trainables.usage import UsageError, format_duration

MOST_TRIALS = 10  # the largest number of rows in the table of the best trials
PICTURE = "pareto.svg"  # the file, next to the records, that shows the Pareto front


def add_trials(request: Request, store: Store) -> Request:
    """Return a search's request with the settings of its trials.

    The settings of trials that were stopped early are not added.

    Raises:
        UsageError: The journal is damaged.
        OSError: The storage fails.
    """
    study = load_search(store)
    if study is None or request.search is None:
        return request
    rows = {
        digest(trial.user_attrs[SETTING]): trial.user_attrs[SETTING]
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.PRUNED
    }
    return request.with_settings(rows, request.search["seeds"])


def search_line(
    request: Request, store: Store, run_seconds: Collection[float], slots: int
) -> str:
    """Return a line with the number of ended trials and the estimated time left.

    `run_seconds` has the training time of each finished run, in seconds. `slots` is the
    number of trials that run at once.

    Raises:
        UsageError: The journal is damaged.
        OSError: The storage fails.
    """
    assert request.search is not None
    study, total = load_search(store), request.search["trials"]
    states = _states(study) if study else []
    pruned = states.count(TrialState.PRUNED)
    ended = states.count(TrialState.COMPLETE) + pruned
    line = f"search: {ended} of {total} trials have ended"
    if pruned:
        line += f" ({pruned} of them stopped early)"
    line += f", {states.count(TrialState.RUNNING)} have started but not ended"
    if ended >= total:
        return line
    if not run_seconds:
        return f"{line}; time left: unknown until a run is finished"
    per_trial = sum(run_seconds) / len(run_seconds) * len(request.search["seeds"])
    time_left = format_duration(per_trial * (total - ended) / slots)
    return f"{line}; time left: about {time_left}"


def print_report(location: str, study: optuna.Study) -> None:
    """Print a search's progress, best trials and important hyperparameters.

    `location` is the folder or URI of the results. It is printed first.
    """
    trials, states = _complete_trials(study), _states(study)
    say(
        f"{location}: {len(trials)} trials finished, "
        f"{states.count(TrialState.PRUNED)} stopped early, "
        f"{states.count(TrialState.RUNNING)} started but not ended"
    )
    if not trials:
        return
    objectives = _objectives(study)
    if len(objectives) > 1:
        say(
            "Pareto front: the trials for which no other trial is better in one "
            "objective and at least as good in the other objective"
        )
        best = sorted(study.best_trials, key=lambda trial: trial.values)
    else:
        sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
        trials.sort(key=lambda trial: (sign * trial.values[0], trial.number))
        best = trials[:MOST_TRIALS]
    words = (objective.words for objective in objectives)
    table = Table("trial", *words, *SETTING_HEADER[:3], box=None)
    for trial in best:
        values = (f"{value:.4f}" for value in trial.values)
        cells = setting_cells(setting_of(trial).row())[:3]
        table.add_row(str(trial.number), *values, *cells)
    console.print(table)
    console.print(_importance_table(study))
    say(
        "Importance: how strongly a hyperparameter decides whether a trial is among "
        f"the best tenth ({math.ceil(len(trials) / 10)} of {len(trials)} trials). The "
        "method is PED-ANOVA in Optuna (Watanabe et al. 2023, arXiv 2304.10255)."
    )


def _states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def _complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _objectives(study: optuna.Study) -> list[Metric]:
    """Return the objectives, with the measure of the search's problems.

    At least one trial must be finished.
    """
    measure = setting_of(_complete_trials(study)[0]).problem.measure
    names = study.user_attrs[REQUEST]["objectives"]
    return [METRICS[name].of(measure) for name in names]


def _importance_table(study: optuna.Study) -> Table:
    words = [objective.words for objective in _objectives(study)]
    columns = [importance(study, index) for index in range(len(words))]
    table = Table("importance for", *words, box=None)
    hyperparameters = {name for column in columns for name in column}
    for name in sorted(hyperparameters, key=lambda n: (-columns[0].get(n, 0.0), n)):
        table.add_row(name, *(f"{column.get(name, 0.0):.3f}" for column in columns))
    return table


def importance(study: optuna.Study, objective: int = 0) -> dict[str, float]:
    """Return how important each hyperparameter is for an objective.

    `objective` is the position of the objective in the search, from 0. The importances
    add up to 1. With fewer than two finished trials, return {}.
    """
    sign = 1 if study.directions[objective].name == "MINIMIZE" else -1

    def cost(trial: FrozenTrial) -> float:
        return sign * float(trial.values[objective])

    if len(_complete_trials(study)) < 2:
        return {}
    with warnings.catch_warnings():
        # Optuna warns that low values must be good; `cost` makes good values low
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, target=cost)


def save_pareto_front(store: Store, study: optuna.Study) -> None:
    """If a search has two objectives, save a picture of its Pareto front."""
    if len(study.directions) == 2 and _complete_trials(study):
        with contextlib.suppress(OSError):
            store.put(PICTURE, draw_front(study, "svg"))
            say(f"Pareto front: {store.location(PICTURE)}")


def write_front(study: optuna.Study, file: str) -> None:
    """Save a picture of the Pareto front. The file's suffix chooses the format.

    Raises:
        UsageError: The suffix is unknown, the search has no Pareto front, or the file
            cannot be written.
    """
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        suffixes = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"cannot draw {file}: its suffix must be one of {suffixes}")
    write_file(file, draw_front(study, suffix))


def draw_front(study: optuna.Study, suffix: str) -> bytes:
    """Return a picture of all finished trials and their Pareto front, as bytes.

    Equal trials give equal bytes.

    Raises:
        UsageError: The search does not have two objectives, or no trial is finished.
    """
    trials = _complete_trials(study)
    if len(study.directions) != 2:
        (name,) = study.user_attrs[REQUEST]["objectives"]
        raise UsageError(
            f"a Pareto front needs two objectives, but this search has only {name}: "
            "start a new search with "
            "--objective mean_accuracy,plasticity_loss (in problems of control, "
            "mean_accuracy,late_accuracy) and another --results folder"
        )
    if not trials:
        raise UsageError("there is nothing to draw: wait until a trial is finished")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    points: defaultdict[str, list[list[float]]] = defaultdict(list)
    for trial in trials:
        points[trial.user_attrs[SETTING]["optimizer"]].append(trial.values)
    others = sorted(points.keys() - COLORS.keys())
    colors = COLORS | dict(zip(others, SPARE, strict=False))
    front = sorted(study.best_trials, key=lambda trial: trial.values)
    content = io.BytesIO()
    with rc_context({**STYLE, "svg.hashsalt": "plasticity-study"}):
        figure = Figure(figsize=(6.4, 4.2))
        x_label, y_label = (
            f"{objective.words} ({'higher' if objective.higher else 'lower'} is better)"
            for objective in _objectives(study)
        )
        ax = figure.add_subplot(xlabel=x_label, ylabel=y_label)
        steps = zip(*(trial.values for trial in front), strict=True)
        is_max = study.directions[0].name == "MAXIMIZE"
        where: Literal["pre", "post"] = "pre" if is_max else "post"
        ax.step(*steps, where=where, color="0.6", label="Pareto front")
        for name in sorted(points):
            x, y = zip(*points[name], strict=True)
            ax.scatter(x, y, s=20, color=colors[name], label=name.upper())
        for trial in front:
            number = str(trial.number)
            ax.annotate(number, trial.values, (4, 3), textcoords="offset points")
        ax.legend(frameon=False)
        figure.savefig(content, format=suffix, **FORMATS[suffix])
    return content.getvalue()
