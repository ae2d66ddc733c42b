"""What a cluster has, and what its autoscaler may yet start."""

from __future__ import annotations

from dataclasses import dataclass

import ray
import ray._private.state  # what Ray's own libraries ask for the autoscaler's bounds


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
    state = ray._private.state.state
    most = state.get_max_resources_from_cluster_config() or {}
    cpus, gpus = now.get("CPU", 0.0), now.get("GPU", 0.0)
    return Capacity(
        cpus, gpus, max(cpus, most.get("CPU", 0)), max(gpus, most.get("GPU", 0))
    )


def is_autoscaled() -> bool:
    """Tell whether an autoscaler starts and ends this cluster's nodes."""
    config = ray._private.state.state.get_cluster_config()
    return any(g.max_count != 0 for g in config.node_group_configs) if config else False
