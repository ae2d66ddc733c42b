"""What a search has found: its best trials, and which hyperparameters matter."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from study.console import console, say
from study.plan.trials import hyperparameter_text
from study.results.store import Store
from study.searching.journal import REQUEST, load_search, setting_of
from trainables.patience import first_line
from trainables.usage import UsageError

MOST_TRIALS = 10
"""Trials in the table of the best."""

PICTURE = "pareto.svg"
"""The Pareto front of two objectives, beside the records."""


def read_search(store: Store) -> optuna.Study | None:
    """Return Optuna's study; None: there is no search.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return load_search(store)
    except OSError as error:
        raise UsageError(
            f"{store.location()}: storage error: {first_line(error)}"
        ) from None


def objectives(study: optuna.Study) -> list[str]:
    """Return the names of a search's objectives."""
    return list(study.user_attrs[REQUEST]["objectives"])


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to the end of their stream."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def print_report(location: str, study: optuna.Study) -> None:
    """Print what a search has found so far.

    Args:
        location: Where its results are, for the reader.
        study: Of `read_search`.
    """
    trials = complete_trials(study)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    say(
        f"{location}: {len(trials)} trials complete, "
        f"{states.count(TrialState.PRUNED)} stopped early, "
        f"{states.count(TrialState.RUNNING)} have started"
    )
    if not trials:
        return
    if len(objectives(study)) > 1:
        say("Pareto front: trials that no other trial equals or beats in everything")
        best = sorted(study.best_trials, key=lambda trial: trial.values)
    else:
        sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
        trials.sort(key=lambda trial: (sign * trial.values[0], trial.number))
        best = trials[:MOST_TRIALS]
    console.print(trial_table(study, best))
    console.print(importance_table(study))
    say(
        "Importance: how much a hyperparameter decides whether a trial is among the "
        f"best tenth ({math.ceil(len(trials) / 10)} of {len(trials)}); "
        "Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255)."
    )


def trial_table(study: optuna.Study, trials: Sequence[FrozenTrial]) -> Table:
    """Return the table of trials with their objectives."""
    columns = ("problem", "optimizer", "hyperparameters")
    table = Table("trial", *objectives(study), *columns, box=None)
    for trial in trials:
        row = setting_of(trial).row()
        table.add_row(
            str(trial.number),
            *(f"{value:.4f}" for value in trial.values),
            row["problem"],
            row["optimizer"],
            hyperparameter_text(row),
        )
    return table


def importance_table(study: optuna.Study) -> Table:
    """Return the table of the hyperparameters' importance for each objective."""
    names = objectives(study)
    columns = [importance(study, index) for index in range(len(names))]
    table = Table("importance for", *names, box=None)
    hyperparameters = {name for column in columns for name in column}
    for name in sorted(hyperparameters, key=lambda n: (-columns[0].get(n, 0.0), n)):
        table.add_row(name, *(f"{column.get(name, 0.0):.3f}" for column in columns))
    return table


def importance(study: optuna.Study, objective: int = 0) -> dict[str, float]:
    """Return each hyperparameter's importance for one objective; the sum is 1.

    Args:
        study: Of `read_search`.
        objective: The number of the objective.
    """
    sign = 1 if study.directions[objective].name == "MINIMIZE" else -1

    def cost(trial: FrozenTrial) -> float:
        return sign * float(trial.values[objective])

    if len(complete_trials(study)) < 2:
        return {}
    with warnings.catch_warnings():
        # Optuna warns that a low target counts as good, which is what `cost` is for
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study, target=cost)
    return {name: float(share) for name, share in shares.items()}


def save_pareto_front(store: Store, study: optuna.Study) -> None:
    """Draw the Pareto front of two objectives into the results, if there is one."""
    if len(objectives(study)) < 2 or not complete_trials(study):
        return
    from study.searching.pareto import draw_front

    with contextlib.suppress(OSError):
        store.put(PICTURE, draw_front(study, "svg"))
        say(f"Pareto front: {store.location(PICTURE)}")
