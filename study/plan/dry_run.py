"""Show what a study would run and how long the runs would take (--dry-run)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from rich.table import Table

from study.plan.machine import (
    benchmark_command,
    estimate_seconds,
    load_rates,
    rate_name,
)
from study.plan.trials import SETTING_HEADER, Trial, setting_cells
from study.spec.search import SEARCHES, Search
from study.spec.studies import STUDIES, Study
from trainables.usage import format_duration

# The operations per second of a GPU that estimates assume. It is no measurement: with
# large matrix products in float32, a GPU does ten times as many operations, and with
# small matrix products, it does fewer.
GPU_RATE = 1e12


def study_table() -> Table:
    """Return a table of all built-in studies and searches, with their size."""
    table = Table("study", "runs", "tasks", "about", box=None)
    studies: list[Study | Search] = [*STUDIES.values(), *SEARCHES.values()]
    for study in studies:
        if isinstance(study, Study):
            streams = [setting.tasks for setting in study.settings]
        else:
            streams = [study.space.example.tasks] * study.trials
        runs, tasks = (len(study.seeds) * n for n in (len(streams), sum(streams)))
        table.add_row(study.name, f"{runs:,}", f"{tasks:,}", study.about)
    return table


def search_table(search: Search) -> Table:
    """Return a table of the fields of a search, with the values of each field."""
    table = Table("field", "values", box=None)
    for name, text in search.space.describe().items():
        table.add_row(name, text)
    table.add_row("seeds", ", ".join(map(str, search.seeds)))
    table.add_row("objectives", ", ".join(search.objectives))
    return table


def sample_trials(search: Search) -> list[Trial]:
    """Return 200 random trials of a search, drawn uniformly from its search space."""
    random = np.random.Generator(np.random.PCG64(0))
    return [Trial(search.space.draw(random), search.seeds) for _ in range(200)]


def cost_table(study: Study, trials: list[Trial]) -> Table:
    """Return a table of the unfinished trials of each setting, with their cost."""
    counted = ("seeds", "trials", "tasks", "examples", "operations")
    table = Table(*SETTING_HEADER, *counted, box=None)
    for setting in study.settings:
        left = [trial for trial in trials if trial.setting == setting]
        seeds = sum(len(trial.seeds) for trial in left)
        table.add_row(*setting_cells(setting.row()), str(seeds), *_totals(left))
    table.add_row("all", "", "", "", "", *_totals(trials))
    return table


def _totals(trials: list[Trial]) -> tuple[str, ...]:
    """Return cells: the numbers of trials, tasks, training examples and operations."""
    tasks = sum(trial.runs * trial.setting.tasks for trial in trials)
    examples = sum(trial.cost.examples for trial in trials)
    flops = sum(trial.cost.flops for trial in trials)
    return f"{len(trials):,}", f"{tasks:,}", f"{examples:.2e}", f"{flops:.2e}"


def power_lines(study: Study) -> Iterator[str]:
    """Yield lines that say which true differences a study can find with its seeds.

    The lines are for `python -m analysis compare` with its defaults: every setting that
    is not SGD is compared with two baselines, the matched one and the best one. The
    correction for multiple comparisons counts all comparisons on one problem. Problems
    with equally many comparisons share a line. The unit of a difference is the standard
    deviation of the difference between two runs with the same seed.
    """
    # imported late, because only this function needs scipy
    from analysis.statistics.power import detectable_effect, seeds_needed

    counts = Counter(
        setting.problem.name
        for setting in study.settings
        if setting.optimizer.name != "sgd"
    )
    by_count: dict[int, list[str]] = {}
    for problem, count in counts.items():
        by_count.setdefault(2 * count, []).append(problem)
    seeds = len(study.seeds)
    for comparisons, problems in by_count.items():
        needed = seeds_needed(1, comparisons)
        power = "no difference can be tested"
        if seeds > 1:
            effect = detectable_effect(seeds, comparisons)
            power = (
                f"a true difference of {effect:.1f} standard deviations is found with "
                "a probability of 80%"
            )
        yield (
            f"{' and '.join(problems)}: with {seeds} "
            f"seed{'' if seeds == 1 else 's'} and {comparisons} comparisons, {power}. "
            f"A difference of 1 standard deviation needs {needed} seeds."
        )


def gpu_lines(trials: list[Trial]) -> Iterator[str]:
    """Yield a line that says how long a GPU takes, if no network is an MLP.

    For an MLP, the number of operations says little about a GPU's time.
    """
    if not trials or any(trial.setting.network is None for trial in trials):
        return
    flops = sum(trial.cost.flops for trial in trials)
    yield (
        f"On GPUs: {flops:.1e} operations, which are {flops / GPU_RATE / 3600:,.1f} "
        f"hours of one GPU that does {GPU_RATE:.0e} of them per second. Divide this "
        "time by the number of GPUs. To measure your GPU, first run with --tasks 1."
    )


def duration_line(trials: list[Trial], slots: int, scale: float = 1.0) -> str:
    """Return a line that estimates how long trials take on this machine's CPUs.

    Each trial uses one CPU, and `slots` trials run at the same time. If `trials` is a
    sample, `scale` is the number of all trials divided by the size of the sample.
    """
    if not trials:
        return "All runs are finished. Nothing is left to train."
    if any(trial.setting.problem.control for trial in trials):
        return (
            "Time: unknown, because study.benchmark cannot time problems of control. "
            "First run with --tasks 1 to measure this machine."
        )
    rates = load_rates()
    seconds = estimate_seconds(trials, slots, rates)
    if seconds is None:
        if not all(trial.setting.architecture.is_plain for trial in trials):
            return "Time: unknown, because study.benchmark cannot time these networks."
        names = {rate_name(trial.setting) for trial in trials} - rates.keys()
        return f"Time: unknown. Run {benchmark_command(names)} to measure this machine."
    return (
        f"Time: about {format_duration(scale * seconds)} on this machine's CPUs with "
        f"{slots} trials at once, at the speeds that study.benchmark measured."
    )
