"""The command that measures how fast this machine trains.

One process times all training loops one after another, and repeats this in many rounds.
If the machine slows down, all loops slow down. Therefore ratios between the loops are
more stable than their times.
"""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from study.console import Text, console, say
from study.plan.machine import load_rates, rate_name, save_rates
from study.plan.trials import CPU_STACK, GPU_STACK
from study.results.provenance import hardware, software
from study.spec.options import make_network
from study.spec.studies import STUDIES
from trainables.hyperparameter import check_whole
from trainables.setting import Setting, parse_hidden
from trainables.usage import UsageError, choose, run_command


def benchmark(
    *,
    network: str = "mlp",
    conv_channels: Text = None,
    hidden: Text = None,
    batch_sizes: str = "1,16,64",
    stacks: str = "auto",
    optimizers: str = "sgd,sam,gnp,adam",
    rounds: int = 10,
    device: str = "auto",
    threads: int = 1,
    peers: str = "",
    study: Text = None,
    ray_trials: int = 0,
    json: Text = None,
) -> int:
    """Measure how fast this machine trains, and compare with a usual PyTorch loop.

    The training loop of this project is also compared with the floor. The floor is a
    loop that computes only the matrix products of a step.

    Args:
        network: The architecture: mlp or conv.
        conv_channels: With --network conv, the numbers of channels of its convolutions,
            for example 8-16-32.
        hidden: The widths of the dense hidden layers, for example 100-100-100.
        batch_sizes: The batch sizes, for example 1,16,64.
        stacks: How many seeds to train together, for example 1,10. "auto" uses 1 and
            the largest number that a sweep uses.
        optimizers: What to time, for example sgd,momentum,adam,gam. "all" times all
            optimizers, and SGD with momentum and with Adam.
        rounds: The number of rounds. Each round times every training loop once.
        device: cpu, cuda or auto. "auto" uses cuda if PyTorch finds a GPU.
        threads: The number of PyTorch's CPU threads.
        peers: Other libraries to time with SGD, SAM and GNP: jax (which you install
            yourself), torch.compile, torch.func, or several: jax,torch.compile.
        study: The name of a study, such as remedies. Time only the steps of each of its
            settings, and compare them with SGD. With this option, the benchmark uses
            the largest number of --stacks, and ignores --hidden, --batch-sizes,
            --optimizers, --peers and --ray-trials.
        ray_trials: Run this many tiny trials to measure how much time Ray adds, for
            example 1000. 0 skips this measurement.
        json: Write the measurements to this JSON file.
    """
    kind = make_network(network, conv_channels)
    if not kind.is_plain:
        raise UsageError(
            f"--network is {network}, which the benchmark cannot build from the usual "
            "layers of PyTorch: give mlp or conv"
        )
    widths = parse_hidden(hidden) if hidden else kind.hidden
    shapes = {
        size: Setting(batch_size=size, network=kind, hidden=widths)
        for size in parse_numbers("--batch-sizes", batch_sizes)
    }
    stack_sizes = None if stacks == "auto" else parse_numbers("--stacks", stacks)
    check_whole("--rounds", rounds)
    check_whole("--threads", threads)
    check_whole("--ray-trials", ray_trials, 0)
    import torch

    from study.benchmark import steps, trials
    from study.benchmark.peers import PEERS
    from trainables.optimizers import OPTIMIZERS
    from trainables.steps.engine import describe_engine

    names = parse_names("optimizer", optimizers, steps.METHODS)
    makers = {name: PEERS[name] for name in parse_names("peer", peers, PEERS)}

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not stack_sizes:
        stack_sizes = [1, GPU_STACK if device == "cuda" else CPU_STACK]
    torch.set_num_threads(threads)
    data, rows = steps.digits(), []
    if study is not None:
        settings = STUDIES[choose("study", study, STUDIES)].settings
        rows = steps.time_settings(settings, stack_sizes[-1], rounds, device, data)
        console.print(steps.settings_table(rows))
        _save(json, {"steps": rows})
        return 0
    for size, shape in shapes.items():
        say(f"Batch size {size}:")
        rows += steps.time_steps(
            shape, names, stack_sizes, rounds, device, data, makers
        )
    console.print(steps.step_table(rows))
    if device == "cpu":
        say(f"Engine: {describe_engine()}")
    shape, stack = shapes.get(16, shape), stack_sizes[-1]
    own = [name for name in names if name in OPTIMIZERS]
    tasks = trials.time_tasks(shape, own, stack, device, data)
    console.print(trials.task_table(tasks))
    results: dict[str, Any] = {"steps": rows, "task": tasks}
    if device == "cpu":
        rates = load_rates()
        for name, task in tasks.items():
            setting = attrs.evolve(shape, optimizer=OPTIMIZERS[name]())
            rates[rate_name(setting)] = task["work_per_second"]
        save_rates(rates)
        results["side_by_side"] = ratio = trials.side_by_side(shape, stack)
        say(f"Two trials at the same time: {ratio:.2f} times the speed of one trial.")
    if ray_trials:
        results["ray"] = overhead = trials.time_ray(ray_trials)
        say(
            f"Ray adds {overhead['per_trial']:.4f} s to the training time of a trial, "
            f"and {overhead['per_report']:.4f} s for each task after the first. "
            f"A trial that does nothing takes {overhead['floor']:.4f} s."
        )
    _save(json, results)
    return 0


def _save(file: str | None, results: dict[str, Any]) -> None:
    """Write the results, the versions and the hardware to a JSON file, if given."""
    if file:
        results = results | {"made_by": software() | hardware()}
        Path(file).write_text(json_format.dumps(results, indent=1))


def parse_numbers(option: str, text: str) -> list[int]:
    """Return the numbers in a text such as 1,16,64, sorted and without duplicates.

    Raises:
        UsageError: The text is not a list of whole numbers above 0.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(
            f"{option} is {text!r}: give whole numbers above 0, such as 1,16,64"
        )
    return sorted(set(map(int, parts)))


def parse_names(kind: str, text: str, known: Iterable[str]) -> list[str]:
    """Return the names in a text such as sgd,sam, without duplicates; "all" gives all.

    Raises:
        UsageError: A name is not in `known`.
    """
    if text == "all":
        return list(known)
    return list(dict.fromkeys(choose(kind, n, known) for n in text.split(",") if n))


if __name__ == "__main__":
    run_command(benchmark, prog="python -m study.benchmark")
