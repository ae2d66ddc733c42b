"""Gradients of dense layers without autograd.

With autograd, most of the time of a small network's update would be overhead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.networks.network import Network

SLOPES = {None: 0.0, "leaky_relu": 0.01, "leaky_relu_tenth": 0.1}
"""The slopes below 0 of the activations that are linear on both sides of 0."""


def backward(
    chain: Network, layers: list[Tensor], error: Tensor, slope: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients of the weights and the biases of a chain of dense layers.

    Args:
        chain: The networks of S seeds.
        layers: The inputs and the outputs of each hidden layer.
        error: The gradient of the loss with respect to the outputs, (S, n, outputs).
        slope: The slope of the activation below 0; above 0, it is 1.
    """
    weights, biases = [], []
    for i in reversed(range(len(layers))):
        weights.append(torch.bmm(error.mT, layers[i]).mT)
        biases.append(error.sum(1, keepdim=True))
        if i:
            below = torch.bmm(error, chain.weights[i].mT)
            error = torch.where(layers[i] > 0, below, slope * below)
    return weights[::-1], biases[::-1]
