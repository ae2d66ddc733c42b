"""Fresh: the whole network is reset before every task, as an upper bound for others.

It returns to the seed's initial weights and forgets all moments. So on every task it is
the network that a run of that seed begins with. The difference between another setting
and this one on a task is paired and starts from equal weights: only what the other
network learned before can cause it. The first task is as without intervention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from trainables.stack import Stack


@attrs.frozen(kw_only=True)
class Fresh(Intervention):
    """Before every task but the first: the initial weights, and moments 0."""

    name: ClassVar[str] = "fresh"

    def begin_task(self, stack: Stack) -> None:
        """Return to the initial weights."""
        from trainables.network import initial_network

        weights = stack.network.weights
        sizes = [w.shape[1] for w in weights] + [weights[-1].shape[2]]
        first = initial_network(sizes, stack.seeds, weights[0].device, weights[0].dtype)
        for tensor, start in zip(stack.network.tensors(), first.tensors(), strict=True):
            tensor.copy_(start)
        stack.memory.forget()
