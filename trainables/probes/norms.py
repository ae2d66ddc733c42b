"""Norms of the weights and of the gradient, in float64 so that no square overflows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.network import Network
from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot
from trainables.steps.reference import norm

LYLE = "Lyle et al. 2023 (arXiv 2303.01486)"


@network_probe(unit="", source=LYLE, meaning="L2 norm of all weights and biases")
def weight_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return the L2 norm of all weights and biases."""
    return norm(snapshot.network.map(Tensor.double)).flatten()


@network_probe(unit="", source=LYLE, meaning="weight_norm by layer", is_list=True)
def layer_weight_norm(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """Return the L2 norm of each layer's weights and biases."""
    return layer_norms(snapshot.network.map(Tensor.double))


@network_probe(
    unit="nats",
    source="Zhao et al. 2022 (arXiv 2202.03599)",
    meaning="L2 norm of the gradient of the mean loss on the probe examples",
    also_before=True,
)
def gradient_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return the L2 norm of the gradient of the mean loss on the probe examples."""
    return norm(snapshot.gradient.map(Tensor.double)).flatten()


def layer_norms(network: Network) -> Float[Tensor, "S layers"]:
    """Return the L2 norm of each layer: its weights and biases."""
    squares = [
        w.square().sum((1, 2)) + b.square().sum((1, 2))
        for w, b in zip(network.weights, network.biases, strict=True)
    ]
    return torch.stack(squares, dim=1).sqrt()
