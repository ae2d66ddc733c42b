"""Replace hidden units, as the interventions continual backprop and ReDo do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    """View numbers of the rows of a layer's weights by the units that the rows read.

    The first axis of `of_rows` has the rows of one network. The layer before has
    `units` units. The result has two axes in its place: the positions, of which a dense
    layer has one, and the units. See `Architecture.is_chain`.
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
    """Replace hidden units by new units, which do not change the output at first.

    The incoming weights of a new unit are drawn like initial weights of the network.
    Its outgoing weights and its bias become 0, even if the initial biases of the
    network are not 0. The optimizer's moments of all these numbers become 0 too.

    Args:
        stack: The networks.
        chosen: The units to replace: one bool tensor of shape (S, width) per hidden
            layer.
        purpose: The purpose of the random numbers: see `trainables.randomness`.
        steps: The number of updates of each seed, of shape (S,). Different numbers give
            different random numbers within a task.
        layer_by_layer: Whether to finish each layer before the next layer. If so, a
            weight that joins two new units is drawn at random, otherwise it becomes 0.
    """
    from trainables.networks.network import initial_bound

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
