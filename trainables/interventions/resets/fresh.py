"""Fresh: reset the whole network to its initial weights before every task.

Fresh is meant as an upper bound for other interventions. Before every task except the
first, the network gets the initial weights of its seed, and the optimizer's moments
become 0.

A setting with Fresh can be compared with the same setting without Fresh, seed by seed
and task by task. Both networks start the stream from the same initial weights. So only
what the network without Fresh learned in earlier tasks can cause a difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.interventions.intervention import Intervention
from trainables.randomness import generator

if TYPE_CHECKING:
    from trainables.networks.stack import Stack


@attrs.frozen(kw_only=True)
class Fresh(Intervention):
    """Resets the network to its initial weights before every task except the first."""

    name: ClassVar[str] = "fresh"

    def begin_task(self, stack: Stack) -> None:
        """Reset the weights to the initial weights, and all moments and counts to 0."""
        from trainables.networks.network import draw_initial

        for i, seed in enumerate(stack.seeds):
            first = draw_initial(stack.network, generator("weights", seed))
            for tensor, start in zip(stack.network.tensors(), first, strict=True):
                tensor[i].copy_(start)
        stack.network.forget_batches()
        stack.memory.forget()
