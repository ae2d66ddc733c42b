"""Shrink and perturb: shrink the weights and add noise before every task.

The method is from Ash & Adams 2020 (arXiv 1910.08475). Before every task except the
first, every weight and bias w becomes shrink w + perturb e. The noise e is drawn from
N(0, 1).
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
    """Shrinks the weights towards 0 and adds noise, before every task except the first.

    The defaults are those of Ash & Adams 2020.
    """

    name: ClassVar[str] = "shrink_perturb"
    shrink: float = real(
        0.6, 0, 1, meaning="factor that multiplies all weights before a task"
    )
    perturb: float = real(
        0.01, meaning="standard deviation of the noise added to weights before a task"
    )

    def begin_task(self, stack: Stack) -> None:
        """Multiply all weights and biases by `shrink`, and add noise."""
        for i, seed in enumerate(stack.seeds):
            random = generator("perturb", seed, stack.task)
            for tensor in stack.network.tensors():
                weights = tensor[i]
                noise = random.normal(0, self.perturb, weights.shape)
                weights.mul_(self.shrink).add_(weights.new_tensor(noise))
