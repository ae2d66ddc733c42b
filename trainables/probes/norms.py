"""Norms of the weights and of the gradient, in float64, where squares are finite."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from trainables.plain import norm
from trainables.probes.probe import Probe


def weight_norm(probe: Probe) -> Float[Tensor, " S"]:
    """Return the L2 norm of all weights and biases."""
    return norm(probe.network.map(Tensor.double)).flatten()


def gradient_norm(probe: Probe) -> Float[Tensor, " S"]:
    """Return the L2 norm of the gradient of the mean loss on the probe examples."""
    return norm(probe.gradient.map(Tensor.double)).flatten()
