"""Head reset: draw new weights for the output layers before every task.

There is one output layer, or two with actor and critic.

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
    from trainables.networks.stack import Stack


@attrs.frozen(kw_only=True)
class HeadReset(Intervention):
    """Draws new output layers before every task except the first."""

    name: ClassVar[str] = "head_reset"

    def begin_task(self, stack: Stack) -> None:
        """Draw new weights of the output layers, and set their moments to 0."""
        from trainables.networks.network import Network, draw_initial

        network = stack.network
        randoms = [generator("head", seed, stack.task) for seed in stack.seeds]
        for head in network.heads:
            w, b = network.weights[head], network.biases[head]
            layer = Network([w], [b], initialization=network.initialization)
            for i, random in enumerate(randoms):
                for tensor, start in zip(
                    (w, b), draw_initial(layer, random), strict=True
                ):
                    tensor[i].copy_(start)
            for moment in stack.memory.moments.values():
                moment.weights[head].zero_()
                moment.biases[head].zero_()
