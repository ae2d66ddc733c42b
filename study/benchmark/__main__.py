"""The benchmark: how near to the hardware's limit this machine trains.

Everything that is compared is timed in turn, round after round, in one process, so
that a machine that slows down slows all of it: the ratios hold where seconds do not.
"""

from __future__ import annotations

import json as json_format
import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from study.benchmark.step_times import step_table, time_steps
from study.console import console
from study.plan import machine
from study.plan.cost import run_cost
from study.plan.trials import CPU_STACK, GPU_STACK
from study.results.provenance import hardware, software
from study.console import Text
from trainables import datasets
from trainables.hyperparameter import check_whole
from trainables.command_line import run_command
from trainables.optimizers import OPTIMIZERS
from trainables.setting import Setting, parse_hidden
from trainables.usage import UsageError

TRIALS_ABOVE_FLOOR = 1000
"""Trials in the part that times Ray."""


@dataclass(frozen=True)
class Options:
    """Measure how fast this machine trains, beside its floor and the usual loop.

    Attributes:
        hidden: Widths of the hidden layers.
        batch_sizes: Batch sizes, as 1,16,64.
        stacks: Seeds side by side, as 1,10; auto: 1 and what a sweep would take.
        rounds: Rounds; in each, everything is timed once.
        device: cpu, cuda, or auto.
        threads: Of torch.
        ray_trials: Trials in the part that times Ray; 0: leave it out.
        json: A file for the figures.
    """

    hidden: str = "100-100-100"
    batch_sizes: str = "1,16,64"
    stacks: str = "auto"
    rounds: int = 25
    device: str = "auto"
    threads: int = 1
    ray_trials: int = TRIALS_ABOVE_FLOOR
    json: Text = None


def benchmark(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Measure how fast this machine trains, beside its floor and the usual loop."""
    batch_sizes = _numbers("--batch-sizes", options.batch_sizes)
    hidden = parse_hidden(options.hidden)
    for name in ("rounds", "threads"):
        check_whole(f"--{name}", getattr(options, name))
    check_whole("--ray-trials", options.ray_trials, 0)
    import torch

    from trainables.steps.engine import describe_engine

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stacks = {1, GPU_STACK if device == "cuda" else CPU_STACK}
    if options.stacks != "auto":
        stacks = set(_numbers("--stacks", options.stacks))
    torch.set_num_threads(options.threads)
    data = _data()
    timings = []
    for batch in batch_sizes:
        shape = Setting(batch_size=batch, hidden=hidden)
        timings += time_steps(
            shape, sorted(stacks), options.rounds, device, data, console
        )
    console.print(step_table(timings))
    console.print(f"Engine: {describe_engine()}", soft_wrap=True)
    shape = Setting(batch_size=batch_sizes[-1], hidden=hidden)
    if 16 in batch_sizes:
        shape = replace(shape, batch_size=16)
    tasks = time_tasks(shape, max(stacks), device, data)
    console.print(task_table(tasks))
    found: dict[str, Any] = {
        "steps": [asdict(timing) for timing in timings],
        "task": tasks,
        "made_by": software() | hardware(),
    }
    if device == "cpu":
        machine.save_rates(
            {name: task["flops_per_second"] for name, task in tasks.items()}
        )
        found["side_by_side"] = gain = side_by_side(shape, max(stacks))
        console.print(f"Two trials side by side: {gain:.2f} times the rate of one.")
    if options.ray_trials:
        from study.benchmark.ray_overhead import measure

        found["ray"] = overhead = measure(options.ray_trials, console)
        console.print(
            f"Ray: {overhead['per_trial']:.4f} s a trial above its training, "
            f"{overhead['floor']:.4f} s with a trainable that does nothing, "
            f"{overhead['per_report']:.4f} s a task reported."
        )
    if options.json:
        Path(options.json).write_text(json_format.dumps(found, indent=1))
    return 0


def time_tasks(
    shape: Setting, stack: int, device: str, data: datasets.Dataset
) -> dict[str, dict[str, float]]:
    """Time a whole task of MNIST's size for each optimizer: seconds by phase.

    The first task of a run is one at which the loss's landscape is looked at; only
    the share of that which falls to a task on average is counted.
    """
    import torch

    from trainables.measuring import PROBE_EVERY
    from trainables.run import ContinualRun

    found = {}
    for name, kind in OPTIMIZERS.items():
        setting = replace(shape, optimizer=kind(lr=1e-3), tasks=2)
        run = ContinualRun(setting, range(stack), data, device)
        run.phases.clear()
        started = time.perf_counter()
        run.next_task()
        if device == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - started
        flops = run_cost(replace(setting, tasks=1)).flops * stack
        look = run.phases["landscape"]
        spent -= look * (1 - 1 / PROBE_EVERY)
        found[name] = run.phases | {
            "landscape": look / PROBE_EVERY,
            "all": spent,
            "flops_per_second": flops / spent,
        }
    return found


def task_table(tasks: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the table of whole tasks: the share of each phase."""
    phases = ("training", "testing", "probes", "landscape", "permuting")
    table = Table("whole task", "seconds", *phases, "operations/s", box=None)
    for name, task in tasks.items():
        shares = [f"{100 * task[phase] / task['all']:.1f}%" for phase in phases]
        table.add_row(
            name, f"{task['all']:.2f}", *shares, f"{task['flops_per_second']:.3g}"
        )
    return table


def side_by_side(shape: Setting, stack: int) -> float:
    """Return the rate of two trials at once over the rate of one alone."""
    spawn = multiprocessing.get_context("spawn")
    totals = []
    for count in (1, 2):
        with spawn.Pool(count) as pool:
            jobs = [(shape, stack)] * count
            pool.map(_warm, range(count), chunksize=1)
            totals.append(sum(pool.starmap(_rate, jobs, chunksize=1)))
    return totals[1] / totals[0]


def _warm(_: int) -> None:
    """Import what `_rate` needs."""
    import torch

    torch.set_num_threads(1)
    _data()


def _rate(shape: Setting, stack: int) -> float:
    """Return the steps and runs a second of one process, over some seconds."""
    import torch

    from study.benchmark.contenders import ours

    torch.set_num_threads(1)
    contender = ours(shape, stack, 100, "cpu", _data())
    contender()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 5:
        count += contender()
    return count / (time.perf_counter() - started)


def _data() -> datasets.Dataset:
    """Return real digits, as many as MNIST has."""
    from study.benchmark.contenders import large

    source = datasets.DATASETS["mnist"]
    return large(datasets.load("mnist-5k"), "mnist", source.train, source.test)


def _numbers(name: str, text: str) -> list[int]:
    """Return the whole numbers in a list like 1,16,64."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"{name} is {text!r}: give whole numbers, as 1,16,64")
    return [int(part) for part in parts]


if __name__ == "__main__":
    run_command(benchmark, prog="python -m study.benchmark")
