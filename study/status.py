"""The command that says what of a study is done, running, failed or missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from study.plan import rates
from study.plan.cost import run_cost
from study.plan.rates import clock
from study.plan.trials import hyperparameters
from study.results.claim import is_claimed
from study.results.file_check import StoredRun
from study.results.find import find_stores
from study.results.store import Store
from trainables.command_line import run_command
from trainables.patience import first_line
from trainables.request import parse_stack_name
from trainables.setting import Row, Setting, digest
from trainables.usage import UsageError

Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]


@dataclass(frozen=True)
class Options:
    """Say how far a study is, by setting, and what is left in time.

    Attributes:
        results: A folder or a URI of results, or one study's in it.
        study: The study's name; by default every study there.
        slots: Trials at once, for the time left; by default as the last sweep had.
    """

    results: tyro.conf.Positional[str] = "results"
    study: Text = None
    slots: Whole = None


@dataclass
class Line:
    """Where the runs of one setting stand.

    Attributes:
        row: The setting's row.
        seeds: Those that were asked for.
        done: Seeds with all their records; diverged ones too.
        diverged: Seeds that did, of those that are done.
        begun: Tasks done, by the seeds that have a checkpoint.
        failed: Why, by the seeds that failed in the last sweep.
    """

    row: Row
    seeds: frozenset[int]
    done: set[int] = field(default_factory=set)
    diverged: set[int] = field(default_factory=set)
    begun: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def missing(self) -> frozenset[int]:
        """Seeds of which there is nothing."""
        return self.seeds - self.done - self.begun.keys() - self.failed.keys()


def status(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Say how far a study is."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    for store in find_stores(options.results, options.study):
        try:
            _show(store, options.slots, console)
        except OSError as error:
            raise UsageError(
                f"{store.location()}: storage fails: {first_line(error)}"
            ) from None
    return 0


def _show(store: Store, slots: int | None, console: Console) -> None:
    """Print one study's status."""
    files = store.check_records()
    bad = [f for f in files if f.faults]
    runs = {i: run for f in files if not f.faults for i, run in f.runs.items()}
    lines = survey(store, runs)
    alive = is_claimed(store)
    begun = "running" if alive else "interrupted"
    columns = ("problem", "optimizer", "hyperparameters", "dataset", "tasks")
    numbers = ("runs", "done", begun, "at task", "failed", "diverged", "missing")
    table = Table(*columns, *numbers, box=None)
    for line in lines:
        tasks = sorted(set(line.begun.values()))
        at = f"{tasks[0]}-{tasks[-1]}" if len(tasks) > 1 else "".join(map(str, tasks))
        table.add_row(*_named(line.row), *_counts(line)[:3], at, *_counts(line)[3:])
    whole = [str(sum(int(_counts(n)[i]) for n in lines)) for i in range(6)]
    table.add_row("all", "", "", "", "", *whole[:3], "", *whole[3:])
    said = "a sweep is at work" if alive else "no sweep is at work"
    console.print(f"{store.location()}: {said}", soft_wrap=True)
    console.print(table)
    for name, why in store.load_failures().items():
        setting_id, seeds = parse_stack_name(name)
        label = f"{setting_id} seeds {name.partition('-seeds-')[2]}"
        if any(s in n.failed for n in lines for s in seeds if _id(n) == setting_id):
            console.print(f"failed: {label}: {why}", soft_wrap=True)
    if bad:
        console.print(
            f"{len(bad)} files are bad: python -m study.doctor {store.location()}",
            soft_wrap=True,
        )
    asked = store.load_request()
    at_once = slots or asked.slots or os.cpu_count() or 1
    if asked.search is None:
        console.print(_time_left(lines, runs, at_once))
        return
    from study.searching.status import (
        search_line,  # Optuna takes half a second to import
    )

    console.print(search_line(asked, store, runs, at_once), soft_wrap=True)


def survey(store: Store, runs: Mapping[str, StoredRun]) -> list[Line]:
    """Return where the runs of each setting stand, in the order of the settings.

    Args:
        store: Where they lie.
        runs: Those that are done, by run_id.
    """
    asked = store.load_request()
    if asked.search is not None:
        from study.searching.status import with_trials

        asked = with_trials(asked, store)
    lines = {i: Line(row, asked.seeds[i]) for i, row in asked.settings.items()}
    for run in runs.values():  # some may never have been asked for, by these files
        known = {k: v for k, v in run.setting.items() if v is not None}
        line = lines.setdefault(run.setting_id, Line(known, frozenset()))
        line.seeds |= {run.seed}
        line.done.add(run.seed)
        if run.diverged:
            line.diverged.add(run.seed)
    for setting_id, seeds in store.interrupted_stacks():
        found = lines.get(setting_id)
        if found and not set(seeds) & found.done:
            task = _task(store, setting_id, seeds)
            found.begun |= dict.fromkeys(seeds, task)
    for name, why in store.load_failures().items():
        setting_id, seeds = parse_stack_name(name)
        if found := lines.get(setting_id):
            found.failed |= {s: why for s in seeds if s not in found.done}
            for seed in found.failed:
                found.begun.pop(seed, None)
    return sorted(lines.values(), key=lambda n: [str(n.row.get(k)) for k in _ORDER])


_ORDER = ("problem", "dataset", "tasks", "optimizer", "lr", "rho", "alpha", "momentum")


def _id(line: Line) -> str:
    return digest(line.row)


def _task(store: Store, setting_id: str, seeds: tuple[int, ...]) -> int:
    """Return at which task a checkpoint is; 0: it cannot be read."""
    from trainables.checkpoint import read
    from trainables.request import stack_name

    content = store.load_state(stack_name(setting_id, seeds))
    try:
        return int(read(content or b"")["run"]["task"])
    except Exception:  # whatever a stranger's bytes bring about
        return 0


def _named(row: Row) -> tuple[str, ...]:
    numbers = hyperparameters(row)
    return row["problem"], row["optimizer"], numbers, row["dataset"], str(row["tasks"])


def _counts(line: Line) -> tuple[str, ...]:
    parts = (line.seeds, line.done, line.begun, line.failed, line.diverged)
    return (*(str(len(part)) for part in parts), str(len(line.missing)))


def _time_left(lines: list[Line], runs: Mapping[str, StoredRun], slots: int) -> str:
    """Return what is left, as a line."""
    settings: dict[str, Setting] = {}
    for line in lines:
        try:
            settings[_id(line)] = Setting.from_row(line.row)
        except UsageError:  # another version's
            continue
    left = [
        (settings[_id(line)], 1 - line.begun.get(seed, 0) / int(line.row["tasks"]))
        for line in lines
        if _id(line) in settings
        for seed in line.seeds - line.done
    ]
    if not left:
        return "nothing is left"
    known = rates.recall() | _measured(runs, settings)
    if any(setting.optimizer.name not in known for setting, _ in left):
        return "time left: not known (python -m study.benchmark measures the speed)"
    seconds = sum(
        run_cost(setting).flops * share / known[setting.optimizer.name]
        for setting, share in left
    )
    return f"time left: about {clock(seconds / slots)} with {slots} trials at once"


def _measured(
    runs: Mapping[str, StoredRun], settings: Mapping[str, Setting]
) -> dict[str, float]:
    """Return the operations a second of the runs that are done, by optimizer."""
    work: dict[str, list[float]] = {}
    for run in runs.values():
        if (setting := settings.get(run.setting_id)) and run.seconds > 0:
            if run.diverged:
                continue
            total = work.setdefault(setting.optimizer.name, [0.0, 0.0])
            total[0] += run_cost(setting).flops
            total[1] += run.seconds
    return {name: flops / seconds for name, (flops, seconds) in work.items()}


if __name__ == "__main__":
    run_command(status, prog="python -m study.status")
