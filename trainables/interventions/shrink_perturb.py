"""Shrink and perturb (Ash & Adams 2020, arXiv 1910.08475).

Before every task but the first, w <- shrink w + perturb e with e ~ N(0, 1), for every
weight and bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention
from trainables.randomness import generator

if TYPE_CHECKING:
    from trainables.stack import Stack


@attrs.frozen(kw_only=True)
class ShrinkPerturb(Intervention):
    """Shrinks the weights towards 0 and adds noise; the defaults are Ash & Adams's."""

    name: ClassVar[str] = "shrink_perturb"
    shrink: float = real(0.6, 0, 1, meaning="factor of the weights before a task")
    perturb: float = real(0.01, meaning="standard deviation of the noise before a task")

    def begin_task(self, stack: Stack) -> None:
        """Shrink and perturb all weights and biases."""
        for i, seed in enumerate(stack.seeds):
            random = generator("perturb", seed, stack.task)
            for tensor in stack.network.tensors():
                weights = tensor[i]
                noise = random.normal(0, self.perturb, weights.shape)
                weights.mul_(self.shrink).add_(weights.new_tensor(noise))
