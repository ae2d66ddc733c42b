"""The time of a step next to its floor and the usual loop, round after round.

A shared machine is sometimes slow, so ratios are taken within each round, and the
table shows their medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import attrs
import numpy as np
from rich.progress import Progress
from rich.table import Table

from study.console import console
from trainables.data import Dataset
from trainables.optimizers import OPTIMIZERS
from trainables.setting import Setting

Name = tuple[int, str]
"""The stack, and "floor", an optimizer, or "usual" and an optimizer."""

ROUND_SECONDS = 0.1
"""About how long each contender runs in a round."""

MIN_STEPS, MAX_STEPS = 4, 400
"""Steps of a contender in a round; a real run prepares about 400 at a time."""


@attrs.frozen
class Timing:
    """The times of one contender, in microseconds per step and run.

    Attributes:
        batch_size: Examples per step and run.
        stack: Runs side by side.
        name: "floor", an optimizer, or "usual" and an optimizer.
        median: Median over the rounds.
        least: Fastest round.
        most: Slowest round.
        of_floor: Time of the floor, once per pass, over the time; None: usual loop.
        of_usual: Time of the usual loop over the time; None: not an optimizer.
    """

    batch_size: int
    stack: int
    name: str
    median: float
    least: float
    most: float
    of_floor: float | None
    of_usual: float | None


def time_steps(
    shape: Setting, stacks: list[int], rounds: int, device: str, data: Dataset
) -> list[Timing]:
    """Time the steps of all contenders at one batch size."""
    from study.benchmark.contenders import Contender, our_loop, products, usual_loop

    settings = {
        name: attrs.evolve(shape, optimizer=kind(lr=1e-3))
        for name, kind in OPTIMIZERS.items()
    }

    def sized(make: Callable[[int], Contender]) -> Contender:
        """Make a contender that runs about ROUND_SECONDS."""
        trial = make(MIN_STEPS)
        trial()  # warm up
        start = time.perf_counter()
        trial()
        seconds = (time.perf_counter() - start) / MIN_STEPS
        return make(min(MAX_STEPS, max(MIN_STEPS, round(ROUND_SECONDS / seconds))))

    contenders: dict[Name, Contender] = {}
    for name in ("sgd", "sam"):
        contenders[1, f"usual {name}"] = sized(
            lambda steps, s=settings[name]: usual_loop(s, steps, device, data)[0]  # type: ignore[misc]
        )
    for stack in stacks:
        contenders[stack, "floor"] = sized(
            lambda steps, n=stack: products(shape, n, steps, device, data)  # type: ignore[misc]
        )
        for name, setting in settings.items():
            contenders[stack, name] = sized(
                lambda steps, n=stack, s=setting: our_loop(s, n, steps, device, data)  # type: ignore[misc]
            )
    times = interleave(contenders, rounds, device)
    return [summarize(shape.batch_size, name, times) for name in times]


def interleave(
    contenders: Mapping[Name, Callable[[], int]], rounds: int, device: str
) -> dict[Name, list[float]]:
    """Time each contender once per round, after a round that does not count."""
    import torch

    times: dict[Name, list[float]] = {name: [] for name in contenders}
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("timing", total=(rounds + 1) * len(contenders))
        for turn in range(rounds + 1):
            for name, contender in contenders.items():
                start = time.perf_counter()
                steps = contender()
                if device == "cuda":
                    torch.cuda.synchronize()
                if turn:
                    seconds = time.perf_counter() - start
                    times[name].append(1e6 * seconds / steps)
                bar.advance(task)
    return times


def summarize(batch_size: int, name: Name, times: Mapping[Name, list[float]]) -> Timing:
    """Return the medians of one contender's times and ratios."""
    stack, kind = name
    passes = OPTIMIZERS[kind]().passes if kind in OPTIMIZERS else 1

    def ratio(other: Name, factor: int) -> float:
        return float(np.median(factor * np.array(times[other]) / np.array(times[name])))

    usual = "usual sgd" if passes == 1 else "usual sam"
    return Timing(
        batch_size=batch_size,
        stack=stack,
        name=kind,
        median=statistics.median(times[name]),
        least=min(times[name]),
        most=max(times[name]),
        of_floor=None if kind.startswith("usual") else ratio((stack, "floor"), passes),
        of_usual=ratio((1, usual), 1) if kind in OPTIMIZERS else None,
    )


def step_table(timings: list[Timing]) -> Table:
    """Return the table of steps: time, ratio to the floor, gain over the usual loop."""
    columns = ("batch", "stack", "what", "us per step and run", "least-most")
    table = Table(*columns, "floor / it", "usual loop / it", box=None)
    for timing in timings:
        table.add_row(
            str(timing.batch_size),
            str(timing.stack),
            timing.name,
            f"{timing.median:.1f}",
            f"{timing.least:.1f}-{timing.most:.1f}",
            "" if timing.of_floor is None else f"{timing.of_floor:.2f}",
            "" if timing.of_usual is None else f"{timing.of_usual:.1f}",
        )
    return table
