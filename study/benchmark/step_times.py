"""How long a step takes beside its floor and the usual loop, round after round.

A machine whose cores are shared with strangers runs fast and slow by turns, so a ratio
is taken within each round, and the median over the rounds is what is printed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trainables import datasets
from trainables.optimizers import OPTIMIZERS
from trainables.setting import Setting

Contender = Callable[[], int]
"""Runs some steps; returns how many, times the runs that took each."""

Name = tuple[int, str]
"""The stack, and: floor, an optimizer, or `usual` and an optimizer."""

SLICE = 0.1
"""Seconds, about, that each contender runs in a round."""

FEWEST, MOST = 4, 400
"""Steps of a contender in a round; a real run has some 400 made ready at a time."""


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
        of_floor: The floor's time, for as many passes, over its own; None for the
            usual loop.
        of_usual: The usual loop's time over its own; None but for an optimizer.
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
    shape: Setting,
    stacks: list[int],
    rounds: int,
    device: str,
    data: datasets.Dataset,
    console: Console,
) -> list[Timing]:
    """Time a step of everything at one batch size."""
    from study.benchmark.contenders import ours, products, usual

    settings = {
        name: replace(shape, optimizer=kind(lr=1e-3))
        for name, kind in OPTIMIZERS.items()
    }

    def sized(make: Callable[..., Contender], *told: Any) -> Contender:
        return make(*told, _steps(make(*told, FEWEST, device, data)), device, data)

    contenders: dict[Name, Contender] = {
        (1, f"usual {name}"): sized(usual, settings[name]) for name in ("sgd", "sam")
    }
    for stack in stacks:
        contenders[stack, "floor"] = sized(products, shape, stack)
        for name, setting in settings.items():
            contenders[stack, name] = sized(ours, setting, stack)
    measured = interleave(contenders, rounds, device, console)
    return [timing(shape.batch_size, name, measured) for name in measured]


def _steps(contender: Contender) -> int:
    """Return how many steps of a contender, made with `FEWEST`, take a `SLICE`."""
    contender()  # the first time does not count
    started = time.perf_counter()
    contender()
    each = (time.perf_counter() - started) / FEWEST
    return min(MOST, max(FEWEST, round(SLICE / each)))


def interleave(
    contenders: Mapping[Name, Contender],
    rounds: int,
    device: str,
    console: Console,
) -> dict[Name, list[float]]:
    """Time each contender once a round, after a round that does not count."""
    import torch

    measured: dict[Name, list[float]] = {name: [] for name in contenders}
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


def timing(batch_size: int, who: Name, measured: Mapping[Name, list[float]]) -> Timing:
    """Return what the rounds say of one contender."""
    stack, name = who
    mine = measured[who]
    passes = OPTIMIZERS[name]().passes if name in OPTIMIZERS else 1

    def ratio(other: Name, times: int) -> float:
        of_rounds = times * np.array(measured[other]) / np.array(mine)
        return float(np.median(of_rounds))

    usual = "usual sgd" if passes == 1 else "usual sam"
    return Timing(
        batch_size,
        stack,
        name,
        statistics.median(mine),
        min(mine),
        max(mine),
        None if name.startswith("usual") else ratio((stack, "floor"), passes),
        ratio((1, usual), 1) if name in OPTIMIZERS else None,
    )


def step_table(timings: list[Timing]) -> Table:
    """Return the table of steps: time, ratio to the floor, gain on the usual loop."""
    table = Table(
        "batch", "stack", "what", "us per step and run", "least-most",
        "floor / it", "usual loop / it", box=None,
    )  # fmt: skip
    for t in timings:
        table.add_row(
            str(t.batch_size),
            str(t.stack),
            t.name,
            f"{t.median:.1f}",
            f"{t.least:.1f}-{t.most:.1f}",
            "" if t.of_floor is None else f"{t.of_floor:.2f}",
            "" if t.of_usual is None else f"{t.of_usual:.1f}",
        )
    return table
