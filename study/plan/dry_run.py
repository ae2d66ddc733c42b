"""What the sweep shows without running anything: the studies, and what one costs."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from study.plan import rates
from study.plan.trials import Trial, hyperparameters
from study.spec.search import SEARCHES, Search
from study.spec.studies import STUDIES, Study
from trainables.setting import Setting


def study_table() -> Table:
    """Return the list of studies."""
    table = Table("study", "runs", "tasks", "about", box=None)
    for study in STUDIES.values():
        tasks = len(study.seeds) * sum(setting.tasks for setting in study.settings)
        runs = len(study.seeds) * len(study.settings)
        table.add_row(study.name, f"{runs:,}", f"{tasks:,}", study.about)
    for search in SEARCHES.values():
        runs = search.trials * len(search.seeds)
        tasks = runs * search.example.tasks
        table.add_row(search.name, f"{runs:,}", f"{tasks:,}", search.about)
    return table


def search_table(search: Search) -> Table:
    """Return what a search chooses from."""
    table = Table("field", "is", box=None)
    for name, what in search.space.described().items():
        table.add_row(name, what)
    table.add_row("seeds", ", ".join(map(str, search.seeds)))
    table.add_row("objectives", ", ".join(search.objectives))
    return table


def sample_trials(search: Search, count: int = 200) -> list[Trial]:
    """Return trials of a search, drawn evenly from its space."""
    random = np.random.Generator(np.random.PCG64(0))
    return [
        Trial(search.space.settle(lambda _, domain: domain.draw(random)), search.seeds)
        for _ in range(count)
    ]


def cost_table(study: Study, trials: list[Trial]) -> Table:
    """Return what is to be run, setting by setting, and what it costs."""
    columns = ("problem", "optimizer", "hyperparameters", "dataset", "seeds", "trials")
    table = Table(*columns, "tasks", "examples", "operations", box=None)
    by_setting: dict[Setting, list[Trial]] = {}
    for trial in trials:
        by_setting.setdefault(trial.setting, []).append(trial)
    for setting in study.settings:
        mine = by_setting.get(setting, [])
        row = setting.row()
        table.add_row(
            row["problem"],
            row["optimizer"],
            hyperparameters(row),
            row["dataset"],
            str(sum(len(trial.seeds) for trial in mine)),
            *_totals(mine),
        )
    table.add_row("all", "", "", "", "", *_totals(trials))
    return table


def _totals(trials: list[Trial]) -> tuple[str, ...]:
    """Return the trials, tasks, examples and operations of these trials."""
    tasks = sum(len(trial.seeds) * trial.setting.tasks for trial in trials)
    examples = sum(trial.cost.examples for trial in trials)
    flops = sum(trial.cost.flops for trial in trials)
    return f"{len(trials):,}", f"{tasks:,}", f"{examples:.2e}", f"{flops:.2e}"


def duration_line(trials: list[Trial], slots: int, share: float = 1.0) -> str:
    """Say how long trials take on this machine.

    Args:
        trials: What is to be run.
        slots: How many at once, on a CPU each.
        share: Part of their whole time, where they stand for others.
    """
    if not trials:
        return "Nothing is left to train."
    seconds = rates.seconds(trials, slots, rates.recall())
    if seconds is None:
        return "How long: not known (python -m study.benchmark measures this machine)."
    time = rates.clock(share * seconds)
    return (
        f"About {time} on this machine's CPUs, {slots} trials at once, at the "
        "rates that study.benchmark measured."
    )
