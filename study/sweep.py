"""The command: run what is left of a study on Ray, then print its tables."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Annotated

import tyro
from rich.console import Console

from study.console import console
from study.plan.dry_run import (
    cost_table,
    duration_line,
    sample_trials,
    search_table,
    study_table,
)
from study.plan.trials import Trial, plan
from study.results.claim import claim
from study.results.files import retry
from study.results.provenance import software
from study.results.store import Store
from study.running.session import FAILED, STOPPED, Tell, run_ids, run_left, stacks
from study.spec.options import Options
from study.spec.search import Search
from study.spec.studies import Study
from trainables.command_line import run_command
from trainables.patience import first_line

SHOWING = {
    "table": "",
    "figure accuracy": " -o accuracy.png",
    "report": " -o report.html",
}
"""What shows more of the records, named when a study ends."""


def sweep(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Run a study; what is done already is not run again."""
    pass
    if options.list:
        console.print(study_table())
        return 0
    study = options.chosen_study()
    store = Store(options.results, study.name, software())

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True)

    try:
        retry(store.check_access)
        if options.dry_run:
            return _dry_run(options, study, store, console)
        with claim(store):
            code = _run(options, study, store, console, tell)
        if code != STOPPED:
            _print_found(study, store, console)
    except KeyboardInterrupt:
        tell("Stopped before anything was begun.")
        return STOPPED
    except BrokenPipeError:  # nobody reads what we say
        raise
    except OSError as error:
        console.print(
            f"Stopped, storage fails: {first_line(error)}; what is done is kept, give "
            "the same command again to go on.",
            soft_wrap=True,
        )
        return FAILED
    return code


def _run(
    options: Options, study: Study | Search, store: Store, console: Console, tell: Tell
) -> int:
    """Run what is left, and what confirms it if asked; return the exit code.

    Raises:
        OSError: Storage fails.
    """
    if isinstance(study, Search):
        # Optuna takes half a second to import
        from study.searching.session import run_search

        code, mine = run_search(options, study, store, console, tell), None
    else:
        code = run_left(options, study, store, console, tell)
        mine = frozenset(setting.setting_id for setting in study.settings)
    if code or options.confirm_seeds is None:
        return code
    from study.running.confirm import confirmation

    more = confirmation(store, study.seeds, options.confirm_seeds, mine)
    if more is None:
        tell("There is nothing to confirm: no setting has whole runs.")
        return 0
    if isinstance(study, Study):
        more = dataclasses.replace(more, probe_every=study.probe_every)
    for setting in more.settings:
        tell(f"To be confirmed: {Trial(setting, more.seeds).label}")
    return run_left(options, more, store, console, tell, part=True)


def _dry_run(
    options: Options, study: Study | Search, store: Store, console: Console
) -> int:
    """Show what is left to run and what it costs; write nothing."""
    slots = options.slots_here()
    if isinstance(study, Search):
        sample = sample_trials(study)
        console.print(
            search_table(study),
            f"{study.trials} trials of {len(study.seeds)} runs each, less those that "
            "are done; the time is for settings drawn evenly.",
            duration_line(sample, slots, study.trials / len(sample)),
            sep="\n",
            soft_wrap=True,
        )
        return 0
    runs = run_ids(study)
    done = store.finished_runs() & runs
    there = stacks(options, store, store.load_request(), slots)
    trials = plan(study, done, there, options.stack_size, slots)
    console.print(
        cost_table(study, trials),
        f"{len(runs) - len(done)} of {len(runs)} runs are to be run.",
        duration_line(trials, slots),
        sep="\n",
        soft_wrap=True,
    )
    return 0


def _print_found(study: Study | Search, store: Store, console: Console) -> None:
    """Print what was found."""
    if not isinstance(study, Search):
        _print_tables(store, console)
        return
    from study.search_report import draw_beside_records, print_report

    print_report(store, console)
    draw_beside_records(store, console)
    for command in ("study.search_report", "analysis table"):
        line = f"python -m {command} {shlex.quote(store.location())}"
        console.print(line, soft_wrap=True)


def _print_tables(store: Store, console: Console) -> None:
    """Say where the records are, print the paper's tables, and name what shows more."""
    if not store.finished_runs():
        return  # all has failed, which has been said
    from analysis.tables.printing import print_tables

    console.print(f"\nRecords: {store.location('records')}\n", soft_wrap=True)
    print_tables(store.location())
    place = shlex.quote(store.location())
    for command, target in SHOWING.items():
        console.print(f"python -m analysis {command} {place}{target}", soft_wrap=True)


if __name__ == "__main__":
    run_command(sweep, prog="python -m study.sweep")
