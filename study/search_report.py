"""The command that says what a search has found: the best, and what it hung on."""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import optuna
import tyro
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from study.console import console
from study.plan.trials import hyperparameters
from study.results.find import find_stores
from study.results.store import Store
from study.searching.journal import ASKED, found_study
from study.searching.proposals import SETTING
from trainables.command_line import run_command
from trainables.patience import first_line
from trainables.setting import Setting
from trainables.usage import UsageError

Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]

SHOWN = 10
"""Of the best trials."""

PICTURE = "pareto.svg"


@dataclass(frozen=True)
class Options:
    """Say what a search has found.

    Attributes:
        results: A folder or a URI of results, or one search's in it.
        study: The search's name, where there are several.
        output: A file for the Pareto front of two objectives: .png, .svg or .pdf.
    """

    results: tyro.conf.Positional[str] = "results"
    study: Text = None
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = None


def search_report(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> None:
    """Print the best trials, the front of two objectives, and what mattered."""
    pass
    found = [
        (store, study)
        for store in find_stores(options.results, options.study)
        if (study := _study(store)) is not None
    ]
    if not found:
        raise UsageError(
            f"no search in {options.results}: python -m study.sweep search"
        )
    if options.output and len(found) > 1:
        names = ", ".join(store.study for store, _ in found)
        raise UsageError(f"{len(found)} searches: choose one with --study ({names})")
    for store, study in found:
        print_report(store, console)
        if options.output:
            from study.searching.pareto import draw_to_file

            draw_to_file(study, options.output)
            console.print(f"wrote {options.output}", soft_wrap=True)


def _study(store: Store) -> optuna.Study | None:
    """Return Optuna's study, if there is a search.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return found_study(store)
    except OSError as error:
        raise UsageError(
            f"{store.location()}: storage fails: {first_line(error)}"
        ) from None


def print_report(store: Store, console: Console) -> None:
    """Print what a search has found so far.

    Raises:
        UsageError: Its journal cannot be read.
    """
    study = _study(store)
    if study is None:
        return
    ended = completed(study)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    early = states.count(TrialState.PRUNED)
    running = states.count(TrialState.RUNNING)
    names = objectives(study)
    console.print(
        f"{store.location()}: {len(ended)} trials ended, {early} stopped early, "
        f"{running} under way",
        soft_wrap=True,
    )
    if not ended:
        return
    front = sorted(study.best_trials, key=lambda trial: trial.values)
    best = sorted(ended, key=lambda trial: _rank(study, trial))[:SHOWN]
    if len(names) > 1:
        console.print(
            "Pareto front: no trial is better in one and not worse in the other"
        )
        best = front
    console.print(trial_table(names, best))
    console.print(importance_table(study))
    console.print(
        "Importance: how much a hyperparameter decides whether a trial is among the "
        f"best tenth ({math.ceil(len(ended) / 10)} of {len(ended)}), in shares; by "
        "Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255).",
        soft_wrap=True,
    )


def objectives(study: optuna.Study) -> list[str]:
    """Return the names of what a search seeks."""
    return list(study.user_attrs[ASKED]["objectives"])


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to the end of their stream."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _rank(study: optuna.Study, trial: FrozenTrial) -> tuple[float, int]:
    """Return where a trial stands in the order of the first objective."""
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    return sign * trial.values[0], trial.number


def trial_table(names: list[str], trials: list[FrozenTrial]) -> Table:
    """Return trials with what they came to."""
    table = Table("trial", *names, "problem", "optimizer", "hyperparameters", box=None)
    for trial in trials:
        row = Setting.from_row(trial.user_attrs[SETTING]).row()
        table.add_row(
            str(trial.number),
            *(f"{value:.4f}" for value in trial.values),
            row["problem"],
            row["optimizer"],
            hyperparameters(row),
        )
    return table


def importance_table(study: optuna.Study) -> Table:
    """Return each hyperparameter's share of what made trials good."""
    names = objectives(study)
    columns = [importance(study, index) for index in range(len(names))]
    table = Table("importance for", *names, box=None)
    every = {name for column in columns for name in column}
    order = sorted(every, key=lambda name: (-columns[0].get(name, 0.0), name))
    for name in order:
        table.add_row(name, *(f"{column.get(name, 0.0):.3f}" for column in columns))
    return table


def importance(study: optuna.Study, objective: int = 0) -> dict[str, float]:
    """Return each hyperparameter's share, conditional ones too, for one objective."""
    sign = 1 if study.directions[objective].name == "MINIMIZE" else -1

    def cost(trial: FrozenTrial) -> float:
        return sign * float(trial.values[objective])

    if len(completed(study)) < 2:
        return {}
    with warnings.catch_warnings():
        # that low is good, which `cost` sees to; that some values are rare
        warnings.simplefilter("ignore")
        found: dict[str, Any] = optuna.importance.get_param_importances(
            study, target=cost
        )
    return {name: float(value) for name, value in found.items()}


def draw_beside_records(store: Store, console: Console) -> None:
    """Draw the Pareto front of two objectives into the results."""
    study = _study(store)
    if study is None or len(objectives(study)) < 2 or not completed(study):
        return
    from study.searching.pareto import picture

    with contextlib.suppress(OSError):
        store.put(PICTURE, picture(study, "svg"))
        console.print(f"Pareto front: {store.location(PICTURE)}", soft_wrap=True)


if __name__ == "__main__":
    run_command(search_report, prog="python -m study.search_report")
