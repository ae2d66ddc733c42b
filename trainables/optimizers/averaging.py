"""The base class of optimizers whose ascent step uses an average of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trainables.optimizers.sam import SAM

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class AveragingSAM(SAM):
    """SAM with a running average of the gradients at the weights."""

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the average to 0, and mark the average as not begun."""
        super().begin(network, memory)
        memory.moments["ascent"] = network.zeros_like()
        memory.marks["ascent_begun"] = network.weights[0].new_zeros(network.seeds)

    def average(self, gradient: Network, memory: Memory, share: float) -> None:
        """Update the average: average += share * (gradient - average).

        The first time, the average of a seed becomes its gradient.
        """
        begun = memory.marks["ascent_begun"]
        shares = begun.new_full(begun.shape, share).where(begun > 0, 1.0)
        memory.moments["ascent"].lerp_(gradient, shares[:, None, None])
        begun.fill_(1)
