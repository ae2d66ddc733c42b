"""Replace hidden units, for the interventions continual backprop, ReDo and SNR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.networks.architecture import initial_bound
from trainables.randomness import generator

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Stack


def unit_zeros(network: Network) -> Tensor:
    """Return one 0 for each hidden unit, of shape (S, number of hidden units)."""
    widths = sum(b.shape[2] for b in network.biases[:-1])
    return network.biases[0].new_zeros(network.seeds, widths)


def split_by_layer(stack: Stack, numbers: Tensor) -> tuple[Tensor, ...]:
    """Split `numbers` into one tensor of shape (S, width) per hidden layer.

    `numbers` has one number per hidden unit, of shape (S, number of hidden units).
    """
    import torch

    widths = [w.shape[2] for w in stack.network.weights[:-1]]
    return torch.split(numbers, widths, dim=1)


def by_unit(of_rows: Tensor, units: int) -> Tensor:
    """Return a view in which the rows of a layer's weights are grouped by unit.

    `units` is the number of units of the layer before. Each row of the weights reads
    one of these units at one position (see `Architecture.is_chain`). The first axis of
    `of_rows` has one entry per row, for one network. The view has two axes in its
    place: the positions and the units. After a dense layer, there is one position.
    """
    positions = len(of_rows) // units
    return of_rows.view(positions, units, *of_rows.shape[1:])


def replace_units(
    stack: Stack,
    chosen: Sequence[Tensor],
    purpose: str,
    steps: Tensor,
    *,
    layer_by_layer: bool = False,
) -> None:
    """Replace hidden units by new units, which have no effect on the outputs at first.

    The incoming weights of a new unit are drawn like initial weights of the network.
    Its outgoing weights and its bias become 0, even if the initial biases of the
    network are not 0. The moments of all these weights and biases become 0 too.

    Args:
        stack: The networks.
        chosen: The units to replace: one bool tensor of shape (S, width) per hidden
            layer.
        purpose: The purpose of the random numbers: see `trainables.randomness`.
        steps: The number of updates of each seed, of shape (S,). Different numbers give
            different random numbers within a task.
        layer_by_layer: Whether to finish each layer before the next layer. If true, a
            weight that joins two new units is drawn at random. If false, it becomes 0.
    """
    moments = stack.memory.moments.values()

    def disconnect(layer: int, i: int, indices: Tensor) -> None:
        for network in (stack.network, *moments):
            units = network.weights[layer].shape[2]
            by_unit(network.weights[layer + 1][i], units)[:, indices] = 0

    for i, seed in enumerate(stack.seeds):
        units = [layer[i].nonzero().flatten() for layer in chosen]
        random = generator(purpose, seed, stack.task, int(steps[i]))
        for layer, indices in enumerate(units):
            w = stack.network.weights[layer][i]
            bound = initial_bound(len(w), stack.network.initialization, output=False)
            drawn = random.uniform(-bound, bound, (len(indices), len(w)))
            w[:, indices] = w.new_tensor(drawn).T
            stack.network.biases[layer][i][:, indices] = 0
            for moment in moments:
                moment.weights[layer][i][:, indices] = 0
                moment.biases[layer][i][:, indices] = 0
            if layer_by_layer:
                disconnect(layer, i, indices)
        if not layer_by_layer:
            for layer, indices in enumerate(units):
                disconnect(layer, i, indices)
