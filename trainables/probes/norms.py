"""Norms of the weights and of the gradient, in float64, where squares are finite."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.network import Network
from trainables.probes.probe import Probe
from trainables.steps.reference import norm


def weight_norm(probe: Probe) -> Float[Tensor, " S"]:
    """Return the L2 norm of all weights and biases."""
    return norm(probe.network.map(Tensor.double)).flatten()


def layer_weight_norm(probe: Probe) -> Float[Tensor, "S layers"]:
    """Return the L2 norm of each layer's weights and biases."""
    return layer_norms(probe.network.map(Tensor.double))


def gradient_norm(probe: Probe) -> Float[Tensor, " S"]:
    """Return the L2 norm of the gradient of the mean loss on the probe examples."""
    return norm(probe.gradient.map(Tensor.double)).flatten()


def layer_norms(network: Network) -> Float[Tensor, "S layers"]:
    """Return the L2 norm of each layer: its weights and biases."""
    squares = [
        w.square().sum((1, 2)) + b.square().sum((1, 2))
        for w, b in zip(network.weights, network.biases, strict=True)
    ]
    return torch.stack(squares, dim=1).sqrt()
