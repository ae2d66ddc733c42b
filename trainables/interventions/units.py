"""Hidden units made new: what continual backprop and ReDo have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.randomness import generator

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from trainables.stack import Stack


def widths(stack: Stack) -> list[int]:
    """Return the widths of the hidden layers."""
    return [w.shape[2] for w in stack.network.weights[:-1]]


def renew(stack: Stack, chosen: Sequence[Tensor], purpose: str, steps: Tensor) -> None:
    """Make hidden units new: they learn again, and as yet do nothing.

    Incoming weights are drawn as the initial ones are; bias, outgoing weights, and the
    moments of them all become 0.

    Args:
        stack: The networks.
        chosen: Which units, for each hidden layer of shape (S, width), truth values.
        purpose: Of the draw.
        steps: Shape (S,); with seed and task it makes the draw this one's own.
    """
    for place, seed in enumerate(stack.seeds):
        units = [layer[place].nonzero().flatten() for layer in chosen]
        if any(map(len, units)):
            random = generator(purpose, seed, stack.task, int(steps[place]))
            _renew_one(stack, place, units, random)


def _renew_one(
    stack: Stack, place: int, units: Sequence[Tensor], random: np.random.Generator
) -> None:
    """Make units of one seed new."""
    from trainables.network import kaiming_bound

    moments = stack.memory.moments.values()
    for layer, which in enumerate(units):
        w = stack.network.weights[layer][place]
        bound = kaiming_bound(len(w), output=False)
        drawn = random.uniform(-bound, bound, (len(which), len(w)))
        w[:, which] = w.new_tensor(drawn).T
        stack.network.biases[layer][place][:, which] = 0
        for moment in moments:
            moment.weights[layer][place][:, which] = 0
            moment.biases[layer][place][:, which] = 0
    # a weight from a new unit to a new unit of the next layer is 0: this comes last
    for layer, which in enumerate(units):
        for network in (stack.network, *moments):
            network.weights[layer + 1][place][which] = 0
