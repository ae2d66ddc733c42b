"""What of the machines each trial gets, and how many of them run at once."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from study.running.capacity import capacity
from trainables.steps import compiler
from trainables.usage import UsageError


@dataclass(frozen=True)
class Shares:
    """What a trial gets, and how many of them run at once.

    Attributes:
        cpus: CPUs per trial.
        gpus: GPUs per trial, a fraction where several share one; 0: none.
        slots: How many trials run at once.
        gpu_memory: Bytes that a trial has of its GPU; None: it has none.
    """

    cpus: float
    gpus: float
    slots: int
    gpu_memory: float | None = None

    @property
    def told(self) -> str:
        """Return it in words, and what makes the steps slow here, if something does."""
        slow = ""
        if not self.gpus and not compiler.commands():
            slow = ", without a C compiler: steps take about twice as long"
        each = f"({self.cpus:g} CPU, {self.gpus:g} GPU each{slow})"
        return f"{self.slots} at once {each}"


def share_out(cpus: float, gpus: float | None, most: int | None) -> Shares:
    """Return what each trial gets of what Ray has.

    Raises:
        UsageError: A trial asks for more than there is.
    """
    have = capacity()
    all_cpus, all_gpus = have.most_cpus, have.most_gpus
    slots = int(all_cpus // cpus)
    if most is not None:
        slots = min(slots, most)
    if gpus is None:
        gpus = min(1.0, all_gpus / slots) if slots and all_gpus else 0.0
    for kind, asked, there in (("cpu", cpus, all_cpus), ("gpu", gpus, all_gpus)):
        if asked > there:
            raise UsageError(
                f"--{kind}s-per-trial is {asked:g}, but Ray has {there:g}: ask for less"
            )
    if gpus:
        slots = min(slots, int(all_gpus / gpus + 1e-9))
    memory = min(1.0, gpus) * _gpu_memory() if gpus else None
    return Shares(cpus, gpus, max(1, slots), memory)


def _gpu_memory() -> float:
    """Return the bytes of a GPU's memory, which a node that has one is asked for."""

    def total() -> int:
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)

    asked = ray.remote(num_gpus=0.01, num_cpus=0, max_calls=1)(total)
    return float(ray.get(asked.remote()))
