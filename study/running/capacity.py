"""What a Ray cluster has, and what its autoscaler may add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import ray
import yaml

BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""The cluster's file on its head node, where `ray up` copies it."""

NODE_GROUP = "ray.io/node-group"
"""Ray's label for the node type of a node that `ray up` has started."""


@attrs.frozen
class Capacity:
    """CPUs and GPUs of a cluster.

    Attributes:
        cpus: Available now.
        gpus: Available now.
        max_cpus: With all nodes that the autoscaler may start.
        max_gpus: With all nodes that the autoscaler may start.
    """

    cpus: float
    gpus: float
    max_cpus: float
    max_gpus: float

    @property
    def can_grow(self) -> bool:
        """Whether the autoscaler may start more nodes."""
        return self.max_cpus > self.cpus or self.max_gpus > self.gpus

    @property
    def max_text(self) -> str:
        """What there may be later, as text."""
        return _text(self.max_cpus, self.max_gpus)

    def __str__(self) -> str:
        """Return what there is now, as text."""
        return _text(self.cpus, self.gpus)


def _text(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU, {gpus:g} GPU" if gpus else f"{cpus:g} CPU"


def capacity() -> Capacity:
    """Return the capacity of the cluster that this process is connected to."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    config = cluster_config()
    return Capacity(
        cpus,
        gpus,
        max(cpus, max_of_workers(config, "CPU")),
        max(gpus, max_of_workers(config, "GPU")),
    )


def cluster_config() -> dict[str, Any]:
    """Return the cluster's file if this machine is its head node, else nothing."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    node_id = ray.get_runtime_context().get_node_id()
    groups = [n["Labels"].get(NODE_GROUP) for n in nodes if n["NodeID"] == node_id]
    try:
        config = yaml.safe_load(Path(BOOTSTRAP).expanduser().read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(config, dict) or groups != [config.get("head_node_type")]:
        return {}  # left by another cluster whose head this machine was
    return config


def max_of_workers(config: dict[str, Any], resource: str) -> float:
    """Return how much of a resource all workers of a cluster's file may have.

    >>> node_type = {"max_workers": 3, "resources": {"CPU": 4}}
    >>> cluster = {"max_workers": 2, "available_node_types": {"worker": node_type}}
    >>> max_of_workers(cluster, "CPU")
    8.0
    """
    amounts = [
        float(node_type.get("resources", {}).get(resource, 0))
        for node_type in config.get("available_node_types", {}).values()
        for _ in range(node_type.get("max_workers", 0))
    ]
    return sum(sorted(amounts, reverse=True)[: config.get("max_workers", 0)], start=0.0)
