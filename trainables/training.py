"""Training on a block of batches: draw, step, and count what the logits say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trainables.examples import Block, Reader
from trainables.network import Network, cross_entropy
from trainables.optimizers import Optimizer

Step = Callable[
    [Network, "Network | None", Optimizer, Tensor, Tensor], Float[Tensor, "S n outputs"]
]
"""As `trainables.plain.step`."""

Told = tuple[Float64[Tensor, " k"], Float64[Tensor, " k"]]
"""Of each seed: the sum of the losses in nats, and how many examples were right."""

READ_AT_ONCE = 320
"""Images are read for a few steps at once: as many as fit a core's cache as reals."""


def train(
    step: Step,
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    reader: Reader,
    block: Block,
) -> Told:
    """Train the block's seeds in place; return what the logits before each step say."""
    here = network.part(block.start, block.stop)
    moving = velocity and velocity.part(block.start, block.stop)
    together = max(1, READ_AT_ONCE // block.positions[0].numel())
    logits = []
    for positions, labels in zip(
        torch.split(block.positions, together),
        torch.split(block.labels, together),
        strict=True,
    ):
        inputs = reader.read(positions)
        for x, y in zip(inputs, labels, strict=True):
            logits.append(step(here, moving, optimizer, x, y))
    told = torch.stack(logits)
    loss = cross_entropy(told, block.labels).double().sum((0, 2))
    right = (told.argmax(-1) == block.labels).sum((0, 2)).double()
    return loss, right
