"""Show studies and their cost without running anything."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from study.plan.machine import estimate_seconds, format_duration, load_rates
from study.plan.trials import SETTING_HEADER, Trial, setting_cells
from study.spec.search import SEARCHES, Search
from study.spec.studies import STUDIES, Study


def study_table() -> Table:
    """Return the table of all studies and searches."""
    table = Table("study", "runs", "tasks", "about", box=None)
    known: list[Study | Search] = [*STUDIES.values(), *SEARCHES.values()]
    for study in known:
        if isinstance(study, Study):
            streams = [setting.tasks for setting in study.settings]
        else:
            streams = [study.space.example.tasks] * study.trials
        runs, tasks = (len(study.seeds) * n for n in (len(streams), sum(streams)))
        table.add_row(study.name, f"{runs:,}", f"{tasks:,}", study.about)
    return table


def search_table(search: Search) -> Table:
    """Return the table of each field of a search, with its values or domain."""
    table = Table("field", "values", box=None)
    for name, text in search.space.describe().items():
        table.add_row(name, text)
    table.add_row("seeds", ", ".join(map(str, search.seeds)))
    table.add_row("objectives", ", ".join(search.objectives))
    return table


def sample_trials(search: Search, count: int = 200) -> list[Trial]:
    """Return trials of a search, drawn uniformly from its space."""
    random = np.random.Generator(np.random.PCG64(0))
    return [Trial(search.space.draw(random), search.seeds) for _ in range(count)]


def cost_table(study: Study, trials: list[Trial]) -> Table:
    """Return the table of the unfinished trials of each setting and their cost."""
    counted = ("seeds", "trials", "tasks", "examples", "operations")
    table = Table(*SETTING_HEADER, *counted, box=None)
    for setting in study.settings:
        left = [trial for trial in trials if trial.setting == setting]
        seeds = sum(len(trial.seeds) for trial in left)
        table.add_row(*setting_cells(setting.row()), str(seeds), *_totals(left))
    table.add_row("all", "", "", "", "", *_totals(trials))
    return table


def _totals(trials: list[Trial]) -> tuple[str, ...]:
    """Return the number of trials, and their tasks, examples and operations."""
    tasks = sum(len(trial.seeds) * trial.setting.tasks for trial in trials)
    examples = sum(trial.cost.examples for trial in trials)
    flops = sum(trial.cost.flops for trial in trials)
    return f"{len(trials):,}", f"{tasks:,}", f"{examples:.2e}", f"{flops:.2e}"


def duration_line(trials: list[Trial], slots: int, scale: float = 1.0) -> str:
    """Return a line with the time that trials take on this machine, with one CPU each.

    `scale` multiplies the time, for `trials` that are a sample of all trials.
    """
    if not trials:
        return "Nothing is left to train."
    seconds = estimate_seconds(trials, slots, load_rates())
    if seconds is None:
        return "Time: unknown. Run python -m study.benchmark to measure this machine."
    return (
        f"Time: about {format_duration(scale * seconds)} on this machine's CPUs, "
        f"{slots} trials at once, at the rates that study.benchmark measured."
    )
