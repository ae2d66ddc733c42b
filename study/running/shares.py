"""Find the CPUs and GPUs of a Ray cluster, and divide them among the trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import ray
import yaml

from study.running.autoscaler import WaitingNews
from trainables.patience import first_line
from trainables.usage import UsageError

BOOTSTRAP = "~/ray_bootstrap_config.yaml"  # `ray up` copies the cluster file to it
NODE_GROUP = "ray.io/node-group"  # the label with the node type of a node of `ray up`


@attrs.frozen
class Capacity:
    """The CPUs and GPUs of a Ray cluster.

    `cpus` and `gpus` are the numbers now. `max_cpus` and `max_gpus` are the numbers
    after the autoscaler has started all nodes that the cluster file allows.
    """

    cpus: float
    gpus: float
    max_cpus: float
    max_gpus: float

    @property
    def can_grow(self) -> bool:
        """Whether the cluster can start more nodes."""
        return self.max_cpus > self.cpus or self.max_gpus > self.gpus

    @property
    def max_text(self) -> str:
        """`max_cpus` and `max_gpus` as text."""
        return _text(self.max_cpus, self.max_gpus)

    def __str__(self) -> str:
        return _text(self.cpus, self.gpus)


def _text(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU, {gpus:g} GPU" if gpus else f"{cpus:g} CPU"


def capacity() -> Capacity:
    """Return the CPUs and GPUs of the Ray cluster that this process uses."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    config = _cluster_config()
    now = [resources.get(kind, 0.0) for kind in ("CPU", "GPU")]
    later = [max_of_workers(config, kind) for kind in ("CPU", "GPU")]
    return Capacity(*now, *map(max, now, later))


def _cluster_config() -> dict[str, Any]:
    """Return the content of the cluster file, or {} on a node that is not the head.

    Ray also has a function for the largest size of a cluster, `get_cluster_config` in
    ray/_private/state.py. But in Ray 2.60, no autoscaler tells Ray this size.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    node_id = ray.get_runtime_context().get_node_id()
    groups = [n["Labels"].get(NODE_GROUP) for n in nodes if n["NodeID"] == node_id]
    try:
        config = yaml.safe_load(Path(BOOTSTRAP).expanduser().read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(config, dict) or groups != [config.get("head_node_type")]:
        # this machine was the head of an earlier cluster, and the file is still there
        return {}
    return config


def max_of_workers(config: dict[str, Any], resource: str) -> float:
    """Return how much of a resource all worker nodes together can have at most.

    `config` is the content of the cluster file, and `resource` is Ray's name of the
    resource, for example "CPU".
    """
    amounts = [
        float(node_type.get("resources", {}).get(resource, 0))
        for node_type in config.get("available_node_types", {}).values()
        for _ in range(node_type.get("max_workers", 0))
    ]
    return sum(sorted(amounts, reverse=True)[: config.get("max_workers", 0)], start=0.0)


@attrs.frozen
class Shares:
    """The CPUs and GPUs of each trial, and the number of concurrent trials."""

    cpus: float
    gpus: float  # a fraction if several trials share a GPU
    slots: int  # the number of trials that run at the same time
    gpu_memory: float | None = None  # bytes of each trial, or None without a GPU

    def __str__(self) -> str:
        each = f"{self.cpus:g} CPU, {self.gpus:g} GPU each"
        return f"{self.slots} trials at once ({each})"


def share_out(
    *,
    cpus: float,
    gpus: float | None,
    max_concurrent: int | None,
    trials_per_gpu: int | None = None,
) -> Shares:
    """Divide the cluster's CPUs and GPUs among trials.

    Args:
        cpus: The number of CPUs of each trial.
        gpus: The number of GPUs of each trial, or None. With None, the CPUs and
            `max_concurrent` determine how many trials run at once. These trials share
            the GPUs equally.
        trials_per_gpu: The most trials that share a GPU if `gpus` is None, or None for
            no limit.
        max_concurrent: The largest number of trials that may run at once, or None for
            no limit.

    Raises:
        UsageError: A trial needs more CPUs or GPUs than the cluster can have.
    """
    cluster = capacity()
    slots = int(cluster.max_cpus // cpus)
    if max_concurrent is not None:
        slots = min(slots, max_concurrent)
    if gpus is None:
        gpus = cluster.max_gpus / slots if slots else 0.0
        if gpus and trials_per_gpu:
            gpus = max(gpus, 1 / trials_per_gpu)
        gpus = min(1.0, gpus)
    limits = ("cpu", cpus, cluster.max_cpus), ("gpu", gpus, cluster.max_gpus)
    for kind, needed, available in limits:
        if needed > available:
            raise UsageError(
                f"--{kind}s-per-trial is {needed:g}, but the Ray cluster has at most "
                f"{available:g}. Use a smaller number"
            )
    if not gpus:
        return Shares(cpus, gpus, max(1, slots))
    # rounding errors can make the quotient slightly smaller than a whole number
    slots = min(slots, int(cluster.max_gpus / gpus + 1e-9))
    memory = min(1.0, gpus) * _ask_gpu_memory(cluster)
    return Shares(cpus, gpus, max(1, slots), memory)


def _ask_gpu_memory(cluster: Capacity) -> float:
    """Start a Ray task on a node with a GPU; return the memory of this GPU in bytes.

    If no node has a GPU yet, the task waits until such a node has started.
    """
    task = ray.remote(num_gpus=0.01, num_cpus=0, max_calls=1)(_gpu_memory)
    answer, news = task.remote(), WaitingNews()
    while not ray.wait([answer], timeout=1.0)[0]:
        news.update(
            "Waiting for a node with a GPU, to learn the size of its memory. "
            f"Ray has {cluster} and can start nodes up to {cluster.max_text}."
        )
    try:
        return float(ray.get(answer))
    except ray.exceptions.RayTaskError as error:
        reason = first_line(error.cause).rstrip(".")
        raise UsageError(
            f"a node cannot use its GPU: {reason}. Install NVIDIA's driver on the "
            "node, or use --gpus-per-trial 0"
        ) from None


def _gpu_memory() -> int:
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)
