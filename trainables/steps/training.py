"""Training on a block of batches: draw, step, and count what the logits say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trainables.examples import Block, Reader
from trainables.network import cross_entropy

Update = Callable[[Tensor, Tensor], Float[Tensor, "S n outputs"]]
"""Updates some seeds on a batch: inputs, labels -> the logits before it."""

Told = tuple[Float64[Tensor, " k"], Float64[Tensor, " k"]]
"""Of each seed: the sum of the losses in nats, and how many examples were right."""

READ_AT_ONCE = 320
"""Images are read for a few steps at once: as many as fit a core's cache as reals."""


def train(update: Update, reader: Reader, block: Block) -> Told:
    """Train the block's seeds in place; return what the logits before each step say.

    Args:
        update: Of the block's seeds.
        reader: Of the training images.
        block: The batches.
    """
    together = max(1, READ_AT_ONCE // block.positions[0].numel())
    logits = []
    for positions, labels in zip(
        torch.split(block.positions, together),
        torch.split(block.labels, together),
        strict=True,
    ):
        inputs = reader.read(positions)
        for x, y in zip(inputs, labels, strict=True):
            logits.append(update(x, y))
    told = torch.stack(logits)
    loss = cross_entropy(told, block.labels).double().sum((0, 2))
    right = (told.argmax(-1) == block.labels).sum((0, 2)).double()
    return loss, right
