"""ReDo: regularly reset dormant hidden units (Sokar et al. 2023, arXiv 2302.12902).

The method is Algorithm 1 of Sokar et al. The score s_i of a hidden unit is its mean
absolute output, divided by the average of this number over the units k of its layer:

    s_i = E|h_i| / mean_k E|h_k|

A unit is dormant if s_i <= tau. After every redo_every updates, the dormant units are
reset: they get new incoming weights, and their outgoing weights become 0. If all
outputs of a layer are 0, all units of the layer are reset. The mean E is over the last
32 batches. Sokar et al. instead use one batch from a replay buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real, whole
from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.units.replacement import (
    replace_units,
    split_by_layer,
    unit_zeros,
)

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack

SCORED = 32
"""A score is an average over this many batches before a reset.

If redo_every is smaller, the average is over all batches since the last reset.
"""


@attrs.frozen(kw_only=True)
class ReDo(Intervention):
    """Resets dormant hidden units every redo_every updates.

    A unit is dormant if its mean absolute output is small compared with the average of
    its layer. The default of redo_every is from Sokar et al. 2023.
    """

    name: ClassVar[str] = "redo"
    redo_tau: float = real(
        0.1, meaning="a unit is reset if its ReDo score is at most this value"
    )
    redo_every: int = whole(
        1000, unit="updates", meaning="updates between resets of dormant units"
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the number of updates and the sums of the units' outputs to 0."""
        memory.marks["outputs"] = unit_zeros(network)
        memory.marks["steps"] = network.weights[0].new_zeros(network.seeds).long()

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, and reset dormant units after every redo_every updates.

        In the last `SCORED` updates before a reset, also add the absolute outputs of
        the units before the update to their sums.
        """
        from trainables.networks.network import forward

        marks, left = stack.memory.marks, self._steps_left(stack)
        scored = (left <= SCORED)[:, None]
        if scored.any():
            hidden = forward(stack.network, inputs)[0][1:]
            sums = split_by_layer(stack, marks["outputs"])
            for total, h in zip(sums, hidden, strict=True):
                total += h.abs().sum(1).where(scored, 0)
        logits = update(inputs, labels)
        marks["steps"] += 1
        reset_now = (left == 1)[:, None]
        if reset_now.any():
            self.recycle(stack, reset_now)
        return logits

    def idle_steps(self, stack: Stack) -> int:
        """Return for how many updates the units' outputs need not be summed."""
        return max(0, int(self._steps_left(stack).min()) - SCORED)

    def _steps_left(self, stack: Stack) -> Tensor:
        """Return how many updates each seed has left until its next reset, (S,)."""
        return self.redo_every - stack.memory.marks["steps"] % self.redo_every

    def recycle(self, stack: Stack, reset_now: Tensor) -> None:
        """Reset dormant units and sums for seeds where `reset_now`, (S, 1), is true."""
        marks = stack.memory.marks
        dormant = [
            (layer <= self.redo_tau * layer.mean(1, keepdim=True)) & reset_now
            for layer in split_by_layer(stack, marks["outputs"])
        ]
        replace_units(stack, dormant, "recycle", marks["steps"])
        marks["outputs"].masked_fill_(reset_now, 0)
