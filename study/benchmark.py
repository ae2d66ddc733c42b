"""The benchmark: how near to the hardware's limit this machine trains.

Everything that is compared is timed in turn, round after round, in one process, so
that a machine that slows down slows all of it: the ratios hold where seconds do not.
"""

from __future__ import annotations

import json as json_format
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from study import rates
from study.cost import run_cost
from study.plan import CPU_STACK, GPU_STACK
from study.provenance import hardware, software
from study.sweep import Text, open_console
from trainables import datasets
from trainables.checks import whole
from trainables.command_line import UsageError, run_command
from trainables.optimizers import OPTIMIZERS
from trainables.setting import Setting, parse_hidden

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
    rounds: int = 7
    device: str = "auto"
    threads: int = 1
    ray_trials: int = TRIALS_ABOVE_FLOOR
    json: Text = None


@dataclass(frozen=True)
class Timing:
    """One contender's times, in microseconds a step and run.

    Attributes:
        batch_size: Examples a step and run.
        stack: Runs side by side.
        name: floor, an optimizer, or `usual` and an optimizer.
        median: Of the rounds.
        least: Of the rounds.
        most: Of the rounds.
    """

    batch_size: int
    stack: int
    name: str
    median: float
    least: float
    most: float


def benchmark(
    options: Annotated[tyro.conf.OmitArgPrefixes[Options], tyro.conf.arg(name="")],
) -> int:
    """Measure how fast this machine trains, beside its floor and the usual loop."""
    batch_sizes = _numbers("--batch-sizes", options.batch_sizes)
    hidden = parse_hidden(options.hidden)
    for name in ("rounds", "threads"):
        whole(f"--{name}", getattr(options, name))
    whole("--ray-trials", options.ray_trials, 0)
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stacks = {1, GPU_STACK if device == "cuda" else CPU_STACK}
    if options.stacks != "auto":
        stacks = set(_numbers("--stacks", options.stacks))
    torch.set_num_threads(options.threads)
    console = open_console()
    data = _data()
    timings = []
    for batch in batch_sizes:
        shape = Setting(batch_size=batch, hidden=hidden)
        timings += time_steps(
            shape, sorted(stacks), options.rounds, device, data, console
        )
    console.print(step_table(timings))
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
        rates.keep({name: task["flops_per_second"] for name, task in tasks.items()})
        found["side_by_side"] = gain = side_by_side(shape, max(stacks))
        console.print(f"Two trials side by side: {gain:.2f} times the rate of one.")
    if options.ray_trials:
        from study.ray_overhead import measure

        found["ray"] = overhead = measure(options.ray_trials, console)
        console.print(
            f"Ray: {overhead['per_trial']:.4f} s a trial above its training, "
            f"{overhead['floor']:.4f} s with a trainable that does nothing, "
            f"{overhead['per_report']:.4f} s a task reported."
        )
    if options.json:
        Path(options.json).write_text(json_format.dumps(found, indent=1))
    return 0


def time_steps(
    shape: Setting,
    stacks: list[int],
    rounds: int,
    device: str,
    data: datasets.Dataset,
    console: Console,
) -> list[Timing]:
    """Time a step of everything at one batch size."""
    from study.contenders import ours, products, usual

    settings = {
        name: replace(shape, optimizer=kind(lr=1e-3))
        for name, kind in OPTIMIZERS.items()
    }
    # about a tenth of a second each on a slow core
    steps = max(4, 4000 // (12 + 5 * shape.batch_size))
    contenders = {
        (1, f"usual {name}"): usual(setting, steps, device, data)
        for name, setting in settings.items()
        if name != "gnp"
    }
    for stack in stacks:
        some = max(4, steps * 2 // stack)
        contenders[stack, "floor"] = products(shape, stack, some, device)
        for name, setting in settings.items():
            contenders[stack, name] = ours(setting, stack, some, device, data)
    measured = interleave(contenders, rounds, device, console)
    return [
        Timing(shape.batch_size, stack, name, statistics.median(t), min(t), max(t))
        for (stack, name), t in measured.items()
    ]


def interleave(
    contenders: Mapping[tuple[int, str], Callable[[], int]],
    rounds: int,
    device: str,
    console: Console,
) -> dict[tuple[int, str], list[float]]:
    """Time each contender once a round, after a round that does not count."""
    import torch

    measured: dict[tuple[int, str], list[float]] = {name: [] for name in contenders}
    with Progress(console=console, transient=True) as bar:
        row = bar.add_task("timing", total=(rounds + 1) * len(contenders))
        for turn in range(rounds + 1):
            for name, contender in contenders.items():
                started = time.perf_counter()
                count = contender()
                if device == "cuda":
                    torch.cuda.synchronize()
                if turn:
                    spent = time.perf_counter() - started
                    measured[name].append(1e6 * spent / count)
                bar.advance(row)
    return measured


def step_table(timings: list[Timing]) -> Table:
    """Return the table of steps: time, ratio to the floor, gain on the usual loop."""
    known = {(t.batch_size, t.stack, t.name): t for t in timings}
    table = Table(
        "batch", "stack", "what", "us per step and run", "least-most",
        "floor / it", "usual loop / it", box=None,
    )  # fmt: skip
    for t in timings:
        passes = 1 if t.name in ("sgd", "floor") else 2
        floor = known[t.batch_size, t.stack, "floor"].median * passes
        base = "usual sgd" if passes == 1 else "usual sam"
        gain = known[t.batch_size, 1, base].median / t.median
        table.add_row(
            str(t.batch_size),
            str(t.stack),
            t.name,
            f"{t.median:.1f}",
            f"{t.least:.1f}-{t.most:.1f}",
            "" if t.name.startswith("usual") else f"{floor / t.median:.2f}",
            f"{gain:.1f}" if t.name in OPTIMIZERS else "",
        )
    return table


def time_tasks(
    shape: Setting, stack: int, device: str, data: datasets.Dataset
) -> dict[str, dict[str, float]]:
    """Time a whole task of MNIST's size for each optimizer: seconds by phase."""
    import torch

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
        found[name] = {
            **run.phases, "all": spent, "flops_per_second": flops / spent
        }  # fmt: skip
    return found


def task_table(tasks: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the table of whole tasks: the share of each phase."""
    phases = ("training", "testing", "probes", "permuting")
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

    from study.contenders import ours

    torch.set_num_threads(1)
    contender = ours(shape, stack, 100, "cpu", _data())
    contender()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 5:
        count += contender()
    return count / (time.perf_counter() - started)


def _data() -> datasets.Dataset:
    """Return real digits, as many as MNIST has."""
    from study.contenders import large

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
