"""CPU and GPU share of each trial, and the number of concurrent trials."""

from __future__ import annotations

import attrs
import ray

from study.running.capacity import capacity
from trainables.usage import UsageError


@attrs.frozen
class Shares:
    """What each trial gets, and how many trials run at once.

    Attributes:
        cpus: CPUs per trial.
        gpus: GPUs per trial, a fraction if several share one; 0: none.
        slots: Concurrent trials.
        gpu_memory: GPU memory per trial, in bytes; None: no GPU.
    """

    cpus: float
    gpus: float
    slots: int
    gpu_memory: float | None = None

    def __str__(self) -> str:
        """Return the shares as text."""
        return f"{self.slots} at once ({self.cpus:g} CPU, {self.gpus:g} GPU each)"


def share_out(*, cpus: float, gpus: float | None, max_concurrent: int | None) -> Shares:
    """Share the cluster out to trials.

    Args:
        cpus: CPUs per trial.
        gpus: GPUs per trial; None: an equal share for as many trials as the CPUs allow.
        max_concurrent: Most trials at once; None: no limit.

    Raises:
        UsageError: A trial needs more than the cluster has.
    """
    cluster = capacity()
    slots = int(cluster.max_cpus // cpus)
    if max_concurrent is not None:
        slots = min(slots, max_concurrent)
    if gpus is None:
        gpus = min(1.0, cluster.max_gpus / slots) if slots else 0.0
    for kind, needed, available in (
        ("cpu", cpus, cluster.max_cpus),
        ("gpu", gpus, cluster.max_gpus),
    ):
        if needed > available:
            raise UsageError(
                f"--{kind}s-per-trial is {needed:g}, but Ray has {available:g}: "
                "ask for less"
            )
    if gpus:
        # a sum of equal shares may come out a little above 1
        slots = min(slots, int(cluster.max_gpus / gpus + 1e-9))
    memory = min(1.0, gpus) * _gpu_memory() if gpus else None
    return Shares(cpus, gpus, max(1, slots), memory)


def _gpu_memory() -> float:
    """Return the memory of one GPU of the cluster, in bytes."""

    def total_memory() -> int:
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)

    task = ray.remote(num_gpus=0.01, num_cpus=0, max_calls=1)(total_memory)
    return float(ray.get(task.remote()))
