"""Probes of L2 norms: of each seed's weights, their changes and their gradient.

The norms are computed in float64, because squares could overflow in float32.
"""

from __future__ import annotations

import functools
import operator

from jaxtyping import Float, Float64
from torch import Tensor

from trainables.networks.network import Network
from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot, sum_squares

KUMAR = "Kumar et al. 2023 (arXiv 2308.11958)"
LYLE = "Lyle et al. 2023 (arXiv 2303.01486)"


@network_probe(source=LYLE)
def weight_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """L2 norm of all weights and biases."""
    return _norm(snapshot.squares)


@network_probe(source=LYLE, is_list=True)
def layer_weight_norm(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """weight_norm by layer."""
    return _layer_norms(snapshot.squares)


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
    return _norm(snapshot.squares_from_initial)


@network_probe(source=KUMAR, is_list=True)
def layer_initial_distance(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """initial_distance by layer."""
    return _layer_norms(snapshot.squares_from_initial)


@network_probe(source=LYLE)
def update_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """L2 distance of the weights and biases from their values before the task."""
    return _norm(snapshot.squares_from_before)


@network_probe(source=LYLE, is_list=True)
def layer_update_norm(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """update_norm by layer."""
    return _layer_norms(snapshot.squares_from_before)


def double_norm(network: Network) -> Float[Tensor, " S"]:
    """Return each seed's L2 norm of all weights and biases, in float64."""
    return _norm(sum_squares(network))


def _norm(squares: Float64[Tensor, "tensors S"]) -> Float64[Tensor, " S"]:
    # add tensor by tensor, because the order of torch's sum depends on the seeds
    return functools.reduce(operator.add, squares.unbind()).sqrt()


def _layer_norms(squares: Float64[Tensor, "tensors S"]) -> Float64[Tensor, "S layers"]:
    weights, biases = squares.chunk(2)
    return (weights + biases).T.sqrt()
