"""The command: run what is left of a study on Ray, then print its tables."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from study.claim import claimed
from study.definition import Definition, keep, load
from study.files import patiently
from study.plan import Trial, hyperparameters, plan
from study.provenance import software
from study.stacks import stack_name
from study.store import Store
from study.studies import STUDIES, Study, changed, find_study
from trainables import datasets
from trainables.checks import real, whole
from trainables.command_line import UsageError, choose, run_command
from trainables.patience import first_line
from trainables.setting import digest, parse_hidden

Tell = Callable[[str], None]
Flag = tyro.conf.FlagCreatePairsOff[bool]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Real = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]


FAILED = 1
"""The exit code of a study of which some runs failed."""

STOPPED = 130
"""The exit code of a study that was interrupted, as a shell has it for Ctrl-C."""

WHOLE = ("tasks", "seeds", "batch_size", "epochs", "max_concurrent", "checkpoint_every")
"""The options that are whole numbers, at least 1."""


@dataclass(frozen=True)
class Options:
    """Run a study; what is done already is not run again.

    Attributes:
        study: A study's name (see --list), or a Python file that defines STUDY.
        results: A folder, or a URI as s3://bucket/prefix; the records become Parquet
            files in RESULTS/STUDY/records.
        dataset: mnist, fashion-mnist, kmnist or mnist-5k, in place of the study's.
        data_dir: A folder with the dataset's IDX files, plain or .gz. Without it and
            without $PLASTICITY_DATA they are downloaded, once.
        tasks: Length of each stream.
        seeds: How many seeds, counted from 0.
        hidden: Widths of the hidden layers, as 100-100-100.
        batch_size: Examples per update.
        epochs: Passes over each task's training examples.
        stack: Seeds that a trial trains side by side: auto, or a number.
        cpus_per_trial: CPUs, and threads, of a trial.
        gpus_per_trial: GPUs of a trial, fractions too; by default an equal share of
            one for each trial that the CPUs allow, where there are GPUs.
        max_concurrent: The most trials at once.
        checkpoint_every: Tasks between checkpoints; by default about a minute of work.
        probe_every: Tasks between measurements of sharpness and of what else the
            loss's landscape tells, before a task and after it; by default 10, and 0
            for none. The first and last task are always measured.
        patience: Seconds that a trial waits for storage that fails, as a full disk.
        address: Of a Ray cluster; by default the one that runs, else a local Ray.
        dry_run: Show what would run and what it costs; start and write nothing.
        list: List the studies.
    """

    study: tyro.conf.Positional[str] = "quickstart"
    results: str = "results"
    dataset: Text = None
    data_dir: Text = None
    tasks: Whole = None
    seeds: Whole = None
    hidden: Text = None
    batch_size: Whole = None
    epochs: Whole = None
    stack: str = "auto"
    cpus_per_trial: float = 1.0
    gpus_per_trial: Real = None
    max_concurrent: Whole = None
    checkpoint_every: Whole = None
    probe_every: Whole = None
    patience: float = 600.0
    address: Text = None
    dry_run: Flag = False
    list: Flag = False

    def __post_init__(self) -> None:
        """Check what no other object checks."""
        real("--cpus-per-trial", self.cpus_per_trial, above=True)
        if self.gpus_per_trial is not None:
            gpus = real("--gpus-per-trial", self.gpus_per_trial)
            if gpus > 1 and gpus % 1:
                raise UsageError(
                    f"--gpus-per-trial is {gpus:g}: above 1 it must be a whole number"
                )
        real("--patience", self.patience)
        for name in WHOLE:
            if getattr(self, name) is not None:
                whole("--" + name.replace("_", "-"), getattr(self, name))
        if self.probe_every is not None:
            whole("--probe-every", self.probe_every, 0)
        if self.stack != "auto" and not (self.stack.isdecimal() and int(self.stack)):
            raise UsageError(
                f"--stack is {self.stack!r}: it must be auto or a whole number, "
                "at least 1"
            )

    @property
    def stack_size(self) -> int | None:
        """Seeds per trial; None: to be chosen."""
        return None if self.stack == "auto" else int(self.stack)

    def chosen_study(self) -> Study:
        """Return the study, with what the options change in it.

        Raises:
            UsageError: There is no such study, or a value is wrong.
        """
        dataset = self.dataset
        return changed(
            find_study(self.study),
            seeds=self.seeds,
            dataset=dataset and choose("dataset", dataset, datasets.DATASETS),
            tasks=self.tasks,
            hidden=None if self.hidden is None else parse_hidden(self.hidden),
            batch_size=self.batch_size,
            epochs=self.epochs,
        )


def open_console() -> Console:
    """Return standard output; where it is no terminal, lines are not cut to 80."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 140
    return console


def sweep(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Run a study; what is done already is not run again."""
    console = open_console()
    if options.list:
        console.print(_studies())
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
            code = _sweep(options, study, store, console, tell)
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
    done = store.finished(repair=False)[0] & _runs(study)
    there = _stacks(options, store, load(store.files), os.cpu_count() or 1)
    slots = os.cpu_count() or 1
    trials = plan(study, done, there, options.stack_size, slots)
    whole = len(_runs(study))
    console.print(
        _costs(study, trials), f"{whole - len(done)} of {whole} runs are to be run."
    )
    return 0


def _runs(study: Study) -> set[str]:
    """Return the run_ids of a study."""
    return {setting.run_id(seed) for setting in study.settings for seed in study.seeds}


def _stacks(
    options: Options, store: Store, asked: Definition, slots: int
) -> list[tuple[str, tuple[int, ...]]]:
    """Return the stacks that go on as they are."""
    planned = [] if options.stack_size else asked.kept_stacks(slots)
    return store.interrupted() + planned


def _sweep(
    options: Options, study: Study, store: Store, console: Console, tell: Tell
) -> int:
    """Run what is left of a study, whose results are ours alone; return the exit code.

    Raises:
        OSError: Storage fails.
    """
    asked = patiently(lambda: load(store.files, repair=tell), tell)
    if others := asked.others(study):
        tell(f"{store.place} also holds {others} other settings, asked for before.")
    store.files.clear_parts()
    runs = _runs(study)
    done = _finished(store, tell) & runs  # there may be others, with other options
    if len(done) == len(runs):
        tell(f"All {len(runs)} runs of {study.name} are done: nothing to train.")
        return 0
    try:
        failed = _run(options, study, store, asked, done, console, tell)
    except KeyboardInterrupt:
        left = len(runs - store.finished(repair=False)[0])
        tell(
            f"Stopped: {left} of {len(runs)} runs are left; "
            "give the same command again to go on."
        )
        return STOPPED
    done = _finished(store, tell) & runs
    _forget_states(store, done)
    if not failed and len(done) < len(runs):
        tell(f"{len(runs) - len(done)} runs are not there: give the command again.")
    return 0 if len(done) == len(runs) else FAILED


def _finished(store: Store, tell: Tell) -> set[str]:
    """Return the run_ids that are done; set aside what is not whole, and say so."""
    done, aside = patiently(store.finished, tell)
    for line in aside:
        tell(f"set aside, to be made again: {line}")
    return done


def _forget_states(store: Store, done: set[str]) -> None:
    """Delete the checkpoints of runs that are done, which a killed sweep has left."""
    asked = load(store.files)
    for setting_id, seeds in store.interrupted():
        row = asked.settings.get(setting_id)
        if row and seeds and all(digest(row | {"seed": s}) in done for s in seeds):
            store.drop_state(stack_name(setting_id, seeds))


def _run(
    options: Options,
    study: Study,
    store: Store,
    asked: Definition,
    done: set[str],
    console: Console,
    tell: Tell,
) -> dict[str, str]:
    """Run what is left; return why stacks failed, by their names."""
    names = sorted({setting.dataset for setting in study.settings})
    data = {name: datasets.load(name, options.data_dir) for name in names}
    # Ray takes a second to import, which no wrong call should wait for
    from study import tuning

    with tuning.connected(options.address, console):
        shares = tuning.shares(
            options.cpus_per_trial, options.gpus_per_trial, options.max_concurrent
        )
        slots = shares.slots
        there = patiently(lambda: _stacks(options, store, asked, slots), tell)
        size, memory = options.stack_size, shares.gpu_memory
        trials = plan(study, done, there, size, slots, memory)
        now = asked.asked_too(study).planned(study, trials, slots)
        patiently(lambda: keep(store.files, now), tell)
        patiently(lambda: store.keep_failed({}), tell)
        every, wait = options.checkpoint_every, options.patience
        failed = tuning.run(
            trials,
            store,
            data,
            shares,
            every,
            console,
            len(done),
            wait,
            options.probe_every,
        )
    with contextlib.suppress(OSError):
        store.keep_failed(failed)
    return failed


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


def _studies() -> Table:
    """Return the list of studies."""
    table = Table("study", "runs", "tasks", "about", box=None)
    for study in STUDIES.values():
        tasks = len(study.seeds) * sum(setting.tasks for setting in study.settings)
        runs = len(study.seeds) * len(study.settings)
        table.add_row(study.name, f"{runs:,}", f"{tasks:,}", study.about)
    return table


def _costs(study: Study, trials: list[Trial]) -> Table:
    """Return what is to be run, setting by setting, and what it costs."""
    columns = ("problem", "optimizer", "hyperparameters", "dataset", "seeds", "trials")
    table = Table(*columns, "tasks", "examples", "operations", box=None)
    whole_examples = whole_flops = 0.0
    tasks = count = 0
    for setting in study.settings:
        mine = [trial for trial in trials if trial.setting == setting]
        seeds = sum(len(trial.seeds) for trial in mine)
        examples = sum(trial.cost.examples for trial in mine)
        flops = sum(trial.cost.flops for trial in mine)
        row = setting.row()
        table.add_row(
            row["problem"],
            row["optimizer"],
            hyperparameters(row),
            row["dataset"],
            str(seeds),
            str(len(mine)),
            f"{seeds * setting.tasks:,}",
            f"{examples:.2e}",
            f"{flops:.2e}",
        )
        tasks, count = tasks + seeds * setting.tasks, count + len(mine)
        whole_examples, whole_flops = whole_examples + examples, whole_flops + flops
    table.add_row(
        "all",
        "",
        "",
        "",
        "",
        str(count),
        f"{tasks:,}",
        f"{whole_examples:.2e}",
        f"{whole_flops:.2e}",
    )
    return table


if __name__ == "__main__":
    run_command(sweep, prog="python -m study.sweep")
