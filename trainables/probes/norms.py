"""Probes of L2 norms: of each seed's weights, their changes and their gradient.

The norms are computed in float64, because squares could overflow in float32.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.networks.network import Network
from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot

KUMAR = "Kumar et al. 2023 (arXiv 2308.11958)"
LYLE = "Lyle et al. 2023 (arXiv 2303.01486)"


@network_probe(source=LYLE)
def weight_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """L2 norm of all weights and biases."""
    return double_norm(snapshot.network)


@network_probe(source=LYLE, is_list=True)
def layer_weight_norm(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """weight_norm by layer.

    For each layer, this is the L2 norm of its weights and biases.
    """
    return _layer_norms(snapshot.network.map(Tensor.double))


@network_probe(
    unit="nats", source="Zhao et al. 2022 (arXiv 2202.03599)", also_before=True
)
def gradient_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """L2 norm of the gradient of the mean loss on the probe examples."""
    return double_norm(snapshot.gradient)


@network_probe(source=KUMAR)
def initial_distance(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """L2 distance of the weights and biases from their initial values.

    The intervention L2-init penalizes the square of this distance.
    """
    return double_norm(_difference(snapshot.network, snapshot.initial))


@network_probe(source=KUMAR, is_list=True)
def layer_initial_distance(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """initial_distance by layer.

    For each layer, this is the L2 distance of its weights and biases from their initial
    values.
    """
    return _layer_norms(_difference(snapshot.network, snapshot.initial))


@network_probe(source=LYLE)
def update_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """L2 distance of the weights and biases from their values before the task."""
    return double_norm(_difference(snapshot.network, snapshot.before))


@network_probe(source=LYLE, is_list=True)
def layer_update_norm(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """update_norm by layer.

    For each layer, this is the L2 distance of its weights and biases from their values
    before the task.
    """
    return _layer_norms(_difference(snapshot.network, snapshot.before))


def double_norm(network: Network) -> Float[Tensor, " S"]:
    """Return each seed's L2 norm of all weights and biases, in float64."""
    return network.map(Tensor.double).norm().flatten()


def _layer_norms(network: Network) -> Float[Tensor, "S layers"]:
    squares = [
        w.square().sum((1, 2)) + b.square().sum((1, 2))
        for w, b in zip(network.weights, network.biases, strict=True)
    ]
    return torch.stack(squares, dim=1).sqrt()


def _difference(network: Network, origin: Network) -> Network:
    return network.map(Tensor.double) - origin.map(Tensor.double)
