"""Replacing hidden units, as continual backprop and ReDo do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.randomness import generator

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.network import Network
    from trainables.stack import Stack


def unit_zeros(network: Network) -> Tensor:
    """Return a number for each hidden unit, of shape (S, all widths): 0."""
    widths = sum(b.shape[2] for b in network.biases[:-1])
    return network.biases[0].new_zeros(network.seeds, widths)


def split_by_layer(stack: Stack, numbers: Tensor) -> tuple[Tensor, ...]:
    """Split a number for each unit by hidden layer: each of shape (S, width)."""
    import torch

    widths = [w.shape[2] for w in stack.network.weights[:-1]]
    return torch.split(numbers, widths, dim=1)


def replace_units(
    stack: Stack, chosen: Sequence[Tensor], purpose: str, steps: Tensor
) -> None:
    """Replace hidden units by new ones that can learn but do not act on the output yet.

    Incoming weights are drawn like the initial ones; biases, outgoing weights and the
    moments of all of them become 0.

    Args:
        stack: The networks.
        chosen: The units to replace: for each hidden layer, bool of shape (S, width).
        purpose: The purpose of the random numbers.
        steps: Shape (S,); tells draws within a task apart.
    """
    from trainables.network import kaiming_bound

    moments = stack.memory.moments.values()
    for i, seed in enumerate(stack.seeds):
        units = [layer[i].nonzero().flatten() for layer in chosen]
        random = generator(purpose, seed, stack.task, int(steps[i]))
        for layer, indices in enumerate(units):
            w = stack.network.weights[layer][i]
            bound = kaiming_bound(len(w), output=False)
            drawn = random.uniform(-bound, bound, (len(indices), len(w)))
            w[:, indices] = w.new_tensor(drawn).T
            stack.network.biases[layer][i][:, indices] = 0
            for moment in moments:
                moment.weights[layer][i][:, indices] = 0
                moment.biases[layer][i][:, indices] = 0
        # after all draws: a weight between new units of adjacent layers must be 0
        for layer, indices in enumerate(units):
            for network in (stack.network, *moments):
                network.weights[layer + 1][i][indices] = 0
