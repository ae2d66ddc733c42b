"""The time of a whole task by phase, and of two trials side by side."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping

import attrs
import torch
from rich.table import Table

from study.benchmark.contenders import digits, our_loop
from study.plan.cost import run_cost
from trainables.data import Dataset
from trainables.optimizers import OPTIMIZERS
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting

RATE_SECONDS = 5.0
"""How long `side_by_side` measures."""


def time_tasks(
    shape: Setting, stack: int, device: str, data: Dataset
) -> dict[str, dict[str, float]]:
    """Time a whole task for each optimizer: seconds by phase, and the rate.

    The first task of a run measures the loss landscape. Most tasks do not, so only
    their average share of that time is counted.
    """
    tasks_per_landscape = RunOptions().landscape_every
    times = {}
    for name, kind in OPTIMIZERS.items():
        setting = attrs.evolve(shape, optimizer=kind(lr=1e-3), tasks=2)
        run = ContinualRun(setting, range(stack), data, device)
        run.phases.clear()
        start = time.perf_counter()
        run.next_task()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        landscape = run.phases["landscape"] / tasks_per_landscape
        seconds -= run.phases["landscape"] - landscape
        flops = run_cost(attrs.evolve(setting, tasks=1)).flops * stack
        times[name] = dict(run.phases) | {
            "landscape": landscape,
            "all": seconds,
            "flops_per_second": flops / seconds,
        }
    return times


def task_table(tasks: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the table of whole tasks: the share of each phase."""
    phases = ("training", "testing", "probes", "landscape", "permuting")
    table = Table("whole task", "seconds", *phases, "operations/s", box=None)
    for name, task in tasks.items():
        shares = [f"{100 * task[phase] / task['all']:.1f}%" for phase in phases]
        rate = f"{task['flops_per_second']:.3g}"
        table.add_row(name, f"{task['all']:.2f}", *shares, rate)
    return table


def side_by_side(shape: Setting, stack: int) -> float:
    """Return the rate of two trials at once over the rate of one alone."""
    spawn = multiprocessing.get_context("spawn")
    rates = []
    for processes in (1, 2):
        with spawn.Pool(processes) as pool:
            pool.map(_import, range(processes), chunksize=1)
            jobs = [(shape, stack)] * processes
            rates.append(sum(pool.starmap(_rate, jobs, chunksize=1)))
    return rates[1] / rates[0]


def _import(_: int) -> None:
    """Import and load what `_rate` needs."""
    torch.set_num_threads(1)
    digits()


def _rate(shape: Setting, stack: int) -> float:
    """Return the steps per second of one process, times the runs."""
    torch.set_num_threads(1)
    loop = our_loop(shape, stack, 100, "cpu", digits())
    loop()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < RATE_SECONDS:
        steps += loop()
    return steps / (time.perf_counter() - start)
