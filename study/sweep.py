"""The command: run what is left of a study on Ray, then print its tables."""

from __future__ import annotations

import shlex
from typing import Annotated

import tyro
from rich.console import Console

from study.claim import claimed
from study.console import open_console
from study.costs_table import cost_table, duration_line, study_table
from study.definition import load
from study.files import patiently
from study.options import Options
from study.plan import plan
from study.provenance import software
from study.session import FAILED, STOPPED, run_ids, run_left, stacks
from study.store import Store
from study.studies import Study
from trainables.command_line import run_command
from trainables.patience import first_line


def sweep(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Run a study; what is done already is not run again."""
    console = open_console()
    if options.list:
        console.print(study_table())
        return 0
    study = options.chosen_study()
    store = Store(options.results, study.name, software())

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True)

    try:
        patiently(store.files.check, tell)
        if options.dry_run:
            return _dry_run(options, study, store, console)
        with claimed(store.files, tell):
            code = run_left(options, study, store, console, tell)
        if code != STOPPED:
            _print_tables(store, console)
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


def _dry_run(options: Options, study: Study, store: Store, console: Console) -> int:
    """Show what is left to run and what it costs; write nothing."""
    runs = run_ids(study)
    done = store.finished(repair=False)[0] & runs
    slots = options.slots_here()
    there = stacks(options, store, load(store.files), slots)
    trials = plan(study, done, there, options.stack_size, slots)
    console.print(
        cost_table(study, trials),
        f"{len(runs) - len(done)} of {len(runs)} runs are to be run.",
        duration_line(trials, slots),
        sep="\n",
        soft_wrap=True,
    )
    return 0


def _print_tables(store: Store, console: Console) -> None:
    """Say where the records are, print the paper's tables, and name what shows more."""
    if not store.finished(repair=False)[0]:
        return  # all has failed, which has been said
    from analysis.tables import print_tables

    console.print(f"\nRecords: {store.files.where('records')}\n", soft_wrap=True)
    print_tables(store.place)
    for command in ("table", "figure accuracy"):
        target = " -o accuracy.png" if command.startswith("figure") else ""
        line = f"python -m analysis {command} {shlex.quote(store.place)}{target}"
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    run_command(sweep, prog="python -m study.sweep")
