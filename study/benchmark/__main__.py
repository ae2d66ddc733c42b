"""The benchmark command: how close training on this machine comes to its limit.

All contenders are timed in turn, round after round, in one process: a machine that
slows down slows them all, so ratios are stable where seconds are not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import attrs
import tyro

from study.benchmark.step_times import step_table, time_steps
from study.console import Text, console, say
from study.plan.machine import save_rates
from study.plan.trials import CPU_STACK, GPU_STACK
from study.results.provenance import hardware, software
from trainables.hyperparameter import check_whole
from trainables.setting import Setting, parse_hidden
from trainables.usage import UsageError, run_command


@attrs.frozen
class BenchmarkOptions:
    """Measure how fast this machine trains, next to its limit and the usual loop.

    Attributes:
        hidden: Widths of the hidden layers.
        batch_sizes: Batch sizes, as 1,16,64.
        stacks: Seeds side by side, as 1,10; auto: 1 and the size that a sweep chooses.
        rounds: Rounds; each times every contender once.
        device: cpu, cuda, or auto.
        threads: Threads of PyTorch.
        ray_trials: Trials of the part that times Ray; 0: skip it.
        json: A file for the measurements.
    """

    hidden: str = "100-100-100"
    batch_sizes: str = "1,16,64"
    stacks: str = "auto"
    rounds: int = 25
    device: str = "auto"
    threads: int = 1
    ray_trials: int = 1000
    json: Text = None


def benchmark(
    options: Annotated[
        tyro.conf.OmitArgPrefixes[BenchmarkOptions], tyro.conf.arg(name="")
    ],
) -> int:
    """Measure how fast this machine trains, next to its limit and the usual loop."""
    batch_sizes = parse_numbers("--batch-sizes", options.batch_sizes)
    hidden = parse_hidden(options.hidden)
    check_whole("--rounds", options.rounds)
    check_whole("--threads", options.threads)
    check_whole("--ray-trials", options.ray_trials, 0)
    import torch

    from study.benchmark.contenders import digits
    from study.benchmark.whole_tasks import side_by_side, task_table, time_tasks
    from trainables.steps.engine import describe_engine

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stacks = {1, GPU_STACK if device == "cuda" else CPU_STACK}
    if options.stacks != "auto":
        stacks = set(parse_numbers("--stacks", options.stacks))
    torch.set_num_threads(options.threads)
    data, timings = digits(), []
    for batch in batch_sizes:
        shape = Setting(batch_size=batch, hidden=hidden)
        timings += time_steps(shape, sorted(stacks), options.rounds, device, data)
    console.print(step_table(timings))
    if device == "cpu":
        say(f"Engine: {describe_engine()}")
    batch = 16 if 16 in batch_sizes else batch_sizes[-1]
    shape = Setting(batch_size=batch, hidden=hidden)
    tasks = time_tasks(shape, max(stacks), device, data)
    console.print(task_table(tasks))
    results: dict[str, Any] = {
        "steps": [attrs.asdict(timing) for timing in timings],
        "task": tasks,
        "made_by": software() | hardware(),
    }
    if device == "cpu":
        save_rates({name: task["flops_per_second"] for name, task in tasks.items()})
        results["side_by_side"] = ratio = side_by_side(shape, max(stacks))
        say(f"Two trials side by side: {ratio:.2f} times the rate of one.")
    if options.ray_trials:
        from study.benchmark.ray_overhead import time_ray

        results["ray"] = overhead = time_ray(options.ray_trials)
        say(
            f"Ray: {overhead['per_trial']:.4f} s per trial above its training, "
            f"{overhead['floor']:.4f} s with a trainable that does nothing, "
            f"{overhead['per_report']:.4f} s per reported task."
        )
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    return 0


def parse_numbers(option: str, text: str) -> list[int]:
    """Parse a list of positive whole numbers, as 1,16,64.

    Raises:
        UsageError: The text is not such a list.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"{option} is {text!r}: give whole numbers, as 1,16,64")
    return [int(part) for part in parts]


if __name__ == "__main__":
    run_command(benchmark, prog="python -m study.benchmark")
