"""The benchmark command: how close training on this machine comes to its limit.

All contenders are timed in turn, round after round, in one process: a machine that
slows down slows them all, so ratios are stable where seconds are not.
"""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any

from study.console import Text, console, say
from study.plan.machine import save_rates
from study.plan.trials import CPU_STACK, GPU_STACK
from study.results.provenance import hardware, software
from trainables.hyperparameter import check_whole
from trainables.setting import Setting, parse_hidden
from trainables.usage import UsageError, run_command


def benchmark(
    *,
    hidden: str = "100-100-100",
    batch_sizes: str = "1,16,64",
    stacks: str = "auto",
    rounds: int = 25,
    device: str = "auto",
    threads: int = 1,
    ray_trials: int = 1000,
    json: Text = None,
) -> int:
    """Measure how fast this machine trains, next to its limit and the usual loop.

    Args:
        hidden: Widths of the hidden layers.
        batch_sizes: Batch sizes, as 1,16,64.
        stacks: Seeds side by side, as 1,10; auto: 1 and the size that a sweep chooses.
        rounds: Rounds; each times every contender once.
        device: cpu, cuda, or auto.
        threads: Threads of PyTorch.
        ray_trials: Trials of the part that times Ray; 0: skip it.
        json: A file for the measurements.
    """
    shapes = {
        size: Setting(batch_size=size, hidden=parse_hidden(hidden))
        for size in parse_numbers("--batch-sizes", batch_sizes)
    }
    stack_sizes = None if stacks == "auto" else parse_numbers("--stacks", stacks)
    check_whole("--rounds", rounds)
    check_whole("--threads", threads)
    check_whole("--ray-trials", ray_trials, 0)
    import torch

    from study.benchmark import steps, trials
    from trainables.steps.engine import describe_engine

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not stack_sizes:
        stack_sizes = [1, GPU_STACK if device == "cuda" else CPU_STACK]
    torch.set_num_threads(threads)
    data, rows = steps.digits(), []
    for shape in shapes.values():
        rows += steps.time_steps(shape, stack_sizes, rounds, device, data)
    console.print(steps.step_table(rows))
    if device == "cpu":
        say(f"Engine: {describe_engine()}")
    shape, stack = shapes.get(16, shape), stack_sizes[-1]
    tasks = trials.time_tasks(shape, stack, device, data)
    console.print(trials.task_table(tasks))
    results: dict[str, Any] = {"steps": rows, "task": tasks}
    results["made_by"] = software() | hardware()
    if device == "cpu":
        save_rates({name: task["flops_per_second"] for name, task in tasks.items()})
        results["side_by_side"] = ratio = trials.side_by_side(shape, stack)
        say(f"Two trials side by side: {ratio:.2f} times the rate of one.")
    if ray_trials:
        results["ray"] = overhead = trials.time_ray(ray_trials)
        say(
            f"Ray: {overhead['per_trial']:.4f} s per trial above its training, "
            f"{overhead['floor']:.4f} s with a trainable that does nothing, "
            f"{overhead['per_report']:.4f} s per reported task."
        )
    if json:
        Path(json).write_text(json_format.dumps(results, indent=1))
    return 0


def parse_numbers(option: str, text: str) -> list[int]:
    """Parse a list of positive whole numbers, as 1,16,64; return each once, in order.

    Raises:
        UsageError: The text is not such a list.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"{option} is {text!r}: give whole numbers, as 1,16,64")
    return sorted(set(map(int, parts)))


if __name__ == "__main__":
    run_command(benchmark, prog="python -m study.benchmark")
