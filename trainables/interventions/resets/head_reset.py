"""Head reset: draw new weights for the output layer before every task.

Nikishin et al. 2022 (arXiv 2205.07802) reset the last layers of a network against
primacy bias, which is overfitting to early data. `head_zero` sets the output layer to 0
instead.
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
    """Resets the output layer before every task except the first.

    The weights are drawn again. The layer's biases and its moments in the optimizer
    become 0.
    """

    name: ClassVar[str] = "head_reset"

    def begin_task(self, stack: Stack) -> None:
        """Draw new output weights, from the distribution of the initial output weights.

        The biases and the moments of the output layer become 0.
        """
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
