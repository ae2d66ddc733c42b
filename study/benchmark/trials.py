"""The time of whole tasks by phase, of two trials side by side, and what Ray adds."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import attrs
import pandas as pd
import torch
from ray import tune
from rich.table import Table

from study.benchmark.steps import digits, our_loop, timed
from study.plan.cost import run_cost
from study.plan.trials import Trial
from study.results.store import Store
from study.running.connection import connected
from study.running.progress import Tally
from study.running.shares import Shares, share_out
from study.running.tuning import run_trials
from trainables.data import Dataset, load
from trainables.optimizers import OPTIMIZERS, SGD
from trainables.problems import Pairwise
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting

PHASES = ("training", "testing", "probes", "landscape", "permuting")
RATE_SECONDS = 5.0  # how long `side_by_side` measures


def time_tasks(
    shape: Setting, stack: int, device: str, data: Dataset
) -> dict[str, dict[str, float]]:
    """Time a whole task for each optimizer: seconds by phase, and the rate.

    The first task of a run measures the loss landscape. Most tasks do not, so only
    their average share of that time is counted.
    """
    times = {}
    for name, kind in OPTIMIZERS.items():
        setting = attrs.evolve(shape, optimizer=kind(lr=1e-3), tasks=2)
        run = ContinualRun(setting, range(stack), data, device)
        seconds, _ = timed(run.next_task, device)
        landscape = run.phases["landscape"] / RunOptions().landscape_every
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
    table = Table("whole task", "seconds", *PHASES, "operations/s", box=None)
    for name, task in tasks.items():
        shares = [f"{100 * task[phase] / task['all']:.1f}%" for phase in PHASES]
        rate = f"{task['flops_per_second']:.3g}"
        table.add_row(name, f"{task['all']:.2f}", *shares, rate)
    return table


def side_by_side(shape: Setting, stack: int) -> float:
    """Return the rate of two trials at once over the rate of one alone."""
    spawn = multiprocessing.get_context("spawn")
    rates = []
    for processes in (1, 2):
        with spawn.Pool(processes, torch.set_num_threads, (1,)) as pool:
            for seconds in (0.0, RATE_SECONDS):  # the first call imports and loads
                rate = functools.partial(_rate, shape, stack)
                answers = pool.map(rate, [seconds] * processes, chunksize=1)
        rates.append(sum(answers))
    return rates[1] / rates[0]


def _rate(shape: Setting, stack: int, seconds: float) -> float:
    """Return the steps per second of one process, times the runs."""
    loop = our_loop(shape, stack, 100, "cpu", digits())
    loop()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        steps += loop()
    return steps / (time.perf_counter() - start)


class EmptyTrainable(tune.Trainable):
    """Does nothing, once: the floor of Ray."""

    def step(self) -> dict[str, Any]:
        """Finish."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept the next trial."""
        return True


def time_ray(trials: int) -> dict[str, float]:
    """Return seconds per trial above its training, of an empty trial, and per report.

    A trial is one run of one task of one step. The cost of a report is what a further
    task adds above its training.
    """
    with connected(None, "benchmark"):
        shares = share_out(cpus=1.0, gpus=0.0, max_concurrent=None)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            tune.run(
                EmptyTrainable,
                config={"i": tune.grid_search(list(range(trials)))},
                max_concurrent_trials=shares.slots,
                reuse_actors=True,
                storage_path=folder,
                verbose=0,
            )
        floor = time.perf_counter() - start
        one_task = _seconds_above_training(trials, 1, shares)
        more_tasks = _seconds_above_training(trials, 11, shares)
    return {
        "per_trial": one_task / trials,
        "floor": floor / trials,
        "per_report": (more_tasks - one_task) / (10 * trials),
    }


def _seconds_above_training(trials: int, tasks: int, shares: Shares) -> float:
    """Return the time of a study of tiny trials without the time of their tasks."""
    tiny = Setting(
        problem=Pairwise(),
        dataset="mnist-5k",
        tasks=tasks,
        batch_size=1000,
        hidden=(1,),
    )
    settings = [
        attrs.evolve(tiny, optimizer=SGD(lr=(i + 1) / trials)) for i in range(trials)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, f"tiny-{tasks}")
        start = time.perf_counter()
        run_trials(
            Tally([Trial(setting, (0,)) for setting in settings]),
            store=store,
            datasets={"mnist-5k": load("mnist-5k")},
            shares=shares,
            options=RunOptions(),
        )
        seconds = time.perf_counter() - start
        records = pd.read_parquet(f"{store.location()}/records", columns=["seconds"])
    return seconds - float(records["seconds"].sum()) / shares.slots
