"""Networks in which no hidden unit is ever active."""

from __future__ import annotations

import torch

from trainables.networks.network import Network, initial_network


def nearly_even(outputs: int, seed: int) -> Network:
    """Return a network without active units. Its logits differ by 1e-2 to 1e-8."""
    network = initial_network([784, 20, 20, outputs], [seed])
    for bias in network.biases[:-1]:
        bias.fill_(-1000)
    random = torch.Generator().manual_seed(seed)
    last = network.biases[-1]
    last += 10.0 ** -(seed % 7 + 2) * torch.randn(last.shape, generator=random)
    return network


def dead_middle(network: Network) -> None:
    """Kill the second hidden layer: only the output's bias can still learn."""
    network.biases[1].fill_(-100)
