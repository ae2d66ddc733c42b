"""Warm start: shrink the weights and add fresh initial weights before every task.

The method is the "shrink, perturb" of Ash & Adams 2020 (arXiv 1910.08475), who use it
to continue the training of a classifier when data are added. Before every task except
the first, every weight and bias w becomes

    shrink w + fresh_share u

where u is drawn like an initial weight (a gain of a normalization is 1). The
optimizer's moments become 0, and batch normalization forgets earlier batches. All this
is as in the authors' code (JordanAsh/warm_start@896176b, run.py:126-136 and 155-161).
In the paper, u is noise from N(0, sigma^2). This module follows the code, whose noise
is larger in layers with larger initial weights.

The literature on plasticity shrinks and perturbs after every update: see
`step_shrink_perturb`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention
from trainables.randomness import generator

if TYPE_CHECKING:
    from trainables.networks.stack import Stack


@attrs.frozen(kw_only=True)
class WarmStart(Intervention):
    """Mixes the weights with new initial weights before every task except the first.

    The defaults are from the authors' code.
    """

    name: ClassVar[str] = "warm_start"
    shrink: float = real(
        0.4, 0, 1, meaning="factor that multiplies all weights before a task"
    )
    fresh_share: float = real(
        0.1, meaning="factor of the fresh initial weights added before a task"
    )

    def begin_task(self, stack: Stack) -> None:
        """Shrink all weights and biases, add fresh ones, and reset the moments to 0."""
        from trainables.networks.network import draw_initial

        for i, seed in enumerate(stack.seeds):
            fresh = draw_initial(stack.network, generator("perturb", seed, stack.task))
            for tensor, u in zip(stack.network.tensors(), fresh, strict=True):
                tensor[i].mul_(self.shrink).add_(u, alpha=self.fresh_share)
        stack.network.forget_batches()
        stack.memory.forget()
