"""Train on a block of batches with torch: read images, step, sum losses and hits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trainables.data.examples import Block, Reader
from trainables.network import cross_entropy

Update = Callable[[Tensor, Tensor], Float[Tensor, "S n outputs"]]
"""Updates networks in place on (inputs, labels); returns the logits before that."""

READ_EXAMPLES = 320
"""Read the images of several steps at once: about as many as a core's cache holds."""


class StepSums(NamedTuple):
    """Sums over all examples of a block, per seed, from the logits before each step.

    Attributes:
        loss: Cross-entropy in nats.
        correct: Number of examples that were classified correctly.
    """

    loss: Float64[Tensor, " k"]
    correct: Float64[Tensor, " k"]


def train(update: Update, reader: Reader, block: Block) -> StepSums:
    """Train the block's seeds in place.

    Args:
        update: Updates the block's seeds.
        reader: Reads the training images.
        block: The batches.
    """
    steps = max(1, READ_EXAMPLES // block.positions[0].numel())
    step_logits = []
    for positions, labels in zip(
        torch.split(block.positions, steps),
        torch.split(block.labels, steps),
        strict=True,
    ):
        inputs = reader.read(positions)
        for x, y in zip(inputs, labels, strict=True):
            step_logits.append(update(x, y))
    logits = torch.stack(step_logits)
    loss = cross_entropy(logits, block.labels).double().sum((0, 2))
    correct = (logits.argmax(-1) == block.labels).sum((0, 2)).double()
    return StepSums(loss, correct)
