"""What a cluster has, and what its autoscaler may yet start."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml

BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""Where `ray up` leaves the cluster's file on its head; Ray itself tells no driver."""

NODE_GROUP = "ray.io/node-group"
"""Ray's label of a node that `ray up` has started: its node type."""


@dataclass(frozen=True)
class Capacity:
    """CPUs and GPUs of a cluster.

    Attributes:
        cpus: There now.
        gpus: There now.
        most_cpus: When the autoscaler has started all that it may.
        most_gpus: The same, of GPUs.
    """

    cpus: float
    gpus: float
    most_cpus: float
    most_gpus: float

    @property
    def grows(self) -> bool:
        """Whether more nodes may come."""
        return self.most_cpus > self.cpus or self.most_gpus > self.gpus

    @property
    def later(self) -> str:
        """What may yet be there, for a reader."""
        gpus = f", {self.most_gpus:g} GPU" * bool(self.most_gpus)
        return f"{self.most_cpus:g} CPU{gpus}"

    def __str__(self) -> str:
        """Return what is there, for a reader."""
        return f"{self.cpus:g} CPU" + f", {self.gpus:g} GPU" * bool(self.gpus)


def capacity() -> Capacity:
    """Return what Ray has and may have; without an autoscaler these are the same."""
    now: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = now.get("CPU", 0.0), now.get("GPU", 0.0)
    config = autoscaling()
    return Capacity(
        cpus, gpus, max(cpus, bound(config, "CPU")), max(gpus, bound(config, "GPU"))
    )


def autoscaling() -> dict[str, Any]:
    """Return the file of the cluster on whose head this is; nothing elsewhere."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    mine = ray.get_runtime_context().get_node_id()
    group = [n["Labels"].get(NODE_GROUP) for n in nodes if n["NodeID"] == mine]
    try:
        config = yaml.safe_load(Path(BOOTSTRAP).expanduser().read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(config, dict) or group != [config.get("head_node_type")]:
        return {}  # another cluster's, whose head this once was
    return config


def bound(config: dict[str, Any], resource: str) -> float:
    """Return the most of a resource that all workers of a cluster's file have.

    >>> kind = {"max_workers": 3, "resources": {"CPU": 4}}
    >>> bound({"max_workers": 2, "available_node_types": {"one": kind}}, "CPU")
    8.0
    """
    kinds = config.get("available_node_types", {}).values()
    each = [
        [float(kind.get("resources", {}).get(resource, 0))] * kind.get("max_workers", 0)
        for kind in kinds
    ]
    every = sorted(itertools.chain.from_iterable(each), reverse=True)
    return sum(every[: config.get("max_workers", 0)], start=0.0)
