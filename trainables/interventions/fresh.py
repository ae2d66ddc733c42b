"""Fresh: the whole network is reset at every task, the ceiling of the others.

It goes back to the seed's own initial weights, with nothing remembered: on every task
it is the network that a run of that seed begins with, so that what another setting
lacks of it on a task is a paired difference, from equal weights, and what it learned
before can be the only cause. On the first task it is the run without intervention.
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
        """Set the networks back."""
        from trainables.network import initial_network

        if stack.task == 0:
            return
        weights = stack.network.weights
        sizes = [w.shape[1] for w in weights] + [weights[-1].shape[2]]
        first = initial_network(sizes, stack.seeds, weights[0].device, weights[0].dtype)
        for now, then in zip(stack.network.tensors(), first.tensors(), strict=True):
            now.copy_(then)
        stack.memory.forget()
