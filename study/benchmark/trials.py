"""Time whole tasks and two trials at the same time, and the time that Ray adds."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pandas as pd
import torch
from ray import tune
from rich.progress import track
from rich.table import Table

from study.benchmark.steps import digits, our_loop, timed
from study.console import console
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
FEW_EXAMPLES = 1000  # in a task with another network than the MLP
RATE_SECONDS = 3.0  # how long `side_by_side` measures


def time_tasks(
    shape: Setting, names: Sequence[str], stack: int, device: str, data: Dataset
) -> dict[str, dict[str, float]]:
    """Time one whole task with each of the optimizers in `names`.

    The first task of a run measures the loss landscape, but most tasks do not. So the
    time of the landscape is divided by the number of tasks between two measurements.
    With a network other than the MLP, the landscape takes minutes. So a task with such
    a network does not measure the landscape, and has only `FEW_EXAMPLES` training
    examples.

    Return for each optimizer: the seconds of each phase, the seconds of the whole task
    ("all"), and the operations and the work per second.
    """
    times = {}
    for name in track(names, "timing tasks", console=console, transient=True):
        setting = attrs.evolve(shape, optimizer=OPTIMIZERS[name](lr=1e-3), tasks=2)
        options = RunOptions()
        if setting.network:
            setting = attrs.evolve(setting, examples=FEW_EXAMPLES)
            options = RunOptions(landscape_every=0)
        run = ContinualRun(setting, range(stack), data, device, options=options)
        seconds, _ = timed(run.next_task, device)
        landscape = run.phases["landscape"] / RunOptions().landscape_every
        seconds -= run.phases["landscape"] - landscape
        cost = run_cost(attrs.evolve(setting, tasks=1))
        times[name] = dict(run.phases) | {
            "landscape": landscape,
            "all": seconds,
            "flops_per_second": cost.flops * stack / seconds,
            "work_per_second": cost.work * stack / seconds,
        }
    return times


def task_table(tasks: Mapping[str, Mapping[str, float]]) -> Table:
    """Return a table with the seconds of a task and the percentage of each phase."""
    table = Table("whole task", "seconds", *PHASES, "operations/s", box=None)
    for name, task in tasks.items():
        shares = [f"{100 * task[phase] / task['all']:.1f}%" for phase in PHASES]
        rate = f"{task['flops_per_second']:.3g}"
        table.add_row(name, f"{task['all']:.2f}", *shares, rate)
    return table


def side_by_side(shape: Setting, stack: int) -> float:
    """Return the speed of two trials at the same time, divided by the speed of one.

    The result 2.0 means that the two trials do not slow each other down.
    """
    spawn = multiprocessing.get_context("spawn")
    rates = []
    for processes in (1, 2):
        with spawn.Pool(processes, torch.set_num_threads, (1,)) as pool:
            for seconds in (0.0, RATE_SECONDS):  # the first call is a warm-up
                rate = functools.partial(_rate, shape, stack)
                answers = pool.map(rate, [seconds] * processes, chunksize=1)
        rates.append(sum(answers))
    return rates[1] / rates[0]


def _rate(shape: Setting, stack: int, seconds: float) -> float:
    """Return the training steps per second of one process, summed over its runs."""
    loop = our_loop(shape, stack, 100, "cpu", digits())
    loop()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        steps += loop()
    return steps / (time.perf_counter() - start)


class EmptyTrainable(tune.Trainable):
    """A trainable that does nothing, to measure the time that Ray itself needs."""

    def step(self) -> dict[str, Any]:
        """Report that the trial is finished."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept the config of the next trial, so that Ray can reuse this actor."""
        return True


def time_ray(trials: int) -> dict[str, float]:
    """Measure how many seconds Ray adds to the training of tiny trials.

    Return "per_trial", the seconds that Ray adds to a trial of one run and one task;
    "floor", the seconds of a trial that does nothing; and "per_report", the seconds
    that Ray adds for each further task of a trial.
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
    """Return the seconds of a study of tiny trials, minus their training time.

    The training time is divided by the number of trials that run at the same time.
    """
    tiny = Setting(
        problem=Pairwise(),
        dataset="mnist-5k",
        tasks=tasks,
        batch_size=1000,
        hidden=(1,),
    )
    optimizers = [SGD(lr=(i + 1) / trials) for i in range(trials)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, f"tiny-{tasks}")
        start = time.perf_counter()
        run_trials(
            Tally([Trial(attrs.evolve(tiny, optimizer=o), (0,)) for o in optimizers]),
            store=store,
            datasets={"mnist-5k": load("mnist-5k")},
            shares=shares,
            options=RunOptions(),
        )
        seconds = time.perf_counter() - start
        records = pd.read_parquet(f"{store.location()}/records", columns=["seconds"])
    return seconds - float(records["seconds"].sum()) / shares.slots
