"""Head reset: the output layer is drawn again before every task.

Nikishin et al. 2022 (arXiv 2205.07802) reset the last layers against primacy bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.interventions.intervention import Intervention
from trainables.randomness import generator

if TYPE_CHECKING:
    from trainables.stack import Stack


@attrs.frozen(kw_only=True)
class HeadReset(Intervention):
    """Before every task but the first: new output weights, biases and moments 0."""

    name: ClassVar[str] = "head_reset"

    def begin_task(self, stack: Stack) -> None:
        """Draw the output layers as the initial ones are drawn."""
        from trainables.network import kaiming_bound

        w = stack.network.weights[-1]
        bound = kaiming_bound(w.shape[1], output=True)
        for i, seed in enumerate(stack.seeds):
            random = generator("head", seed, stack.task)
            w[i].copy_(w.new_tensor(random.uniform(-bound, bound, w.shape[1:])))
        stack.network.biases[-1].zero_()
        for moment in stack.memory.moments.values():
            moment.weights[-1].zero_()
            moment.biases[-1].zero_()
