"""Hare and Tortoise: regularly reset the weights to their slow running average.

The method is from Lee et al. 2024 (arXiv 2406.02596). The hare is the network that
learns. The tortoise is the running average of its weights and biases:

    tortoise <- ema tortoise + (1 - ema) hare

after every update. After every hare_every updates, the hare gets the weights of the
tortoise. The moments of the optimizer do not change (dojeon-ai/Hare-Tortoise@4ec5ebb,
src/trainers/base.py:151-188).

The authors' code resets the hare after every tenth epoch. After a reset, the hare and
the tortoise of that code share their memory until the next update, so that the tortoise
takes the hare's first step too. The paper does not mention the shared memory, and this
module keeps the two networks apart. All tests and probes measure the hare. A reset does
not change the running statistics of batch normalization, which are those of the hare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real, whole
from trainables.interventions.intervention import Intervention, Update

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class HareTortoise(Intervention):
    """Resets the weights to their running average every hare_every updates.

    The default of hare_ema is from the authors. The default of hare_every is not,
    because the authors reset after epochs.
    """

    name: ClassVar[str] = "hare_tortoise"
    hare_ema: float = real(
        0.999, 0, 1, meaning="decay per update of the running average of the weights"
    )
    hare_every: int = whole(
        1000, unit="updates", meaning="updates between resets to the running average"
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the average to the initial weights, and the number of updates to 0."""
        import torch

        memory.kept["tortoise"] = network.map(torch.clone)
        memory.marks["steps"] = network.weights[0].new_zeros(network.seeds).long()

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks and their averages, and reset networks to the averages.

        The network of a seed is reset after every hare_every updates of the seed.
        """
        logits = update(inputs, labels)
        steps = stack.memory.marks["steps"]
        steps += 1
        reset_now = (steps % self.hare_every == 0)[:, None, None]
        slow = stack.memory.kept["tortoise"].tensors()
        for tensor, average in zip(stack.network.tensors(), slow, strict=True):
            average.lerp_(tensor, 1 - self.hare_ema)
            if reset_now.any():
                tensor.copy_(average.where(reset_now, tensor))
        return logits
