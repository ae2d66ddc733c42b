"""Distances that the weights went: since the beginning, and in this task.

L2 over weights and biases, in float64. L2-init (Kumar et al. 2023, arXiv 2308.11958)
penalizes the first; Lyle et al. 2023 (arXiv 2303.01486) look at the second.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from trainables.network import Network
from trainables.probes.norms import layer_norms
from trainables.probes.probe import Probe
from trainables.steps.reference import norm


def initial_distance(probe: Probe) -> Float[Tensor, " S"]:
    """Return ||w - w_0||, w_0 the initial weights."""
    return norm(_difference(probe.network, probe.initial)).flatten()


def layer_initial_distance(probe: Probe) -> Float[Tensor, "S layers"]:
    """Return ||w - w_0|| of each layer."""
    return layer_norms(_difference(probe.network, probe.initial))


def update_norm(probe: Probe) -> Float[Tensor, " S"]:
    """Return ||w - w'||, w' the weights before this task."""
    return norm(_difference(probe.network, probe.before)).flatten()


def layer_update_norm(probe: Probe) -> Float[Tensor, "S layers"]:
    """Return ||w - w'|| of each layer."""
    return layer_norms(_difference(probe.network, probe.before))


def _difference(one: Network, other: Network) -> Network:
    theirs = iter(other.tensors())
    return one.map(lambda tensor: tensor.double() - next(theirs).double())
