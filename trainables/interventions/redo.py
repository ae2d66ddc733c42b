"""ReDo: recycling dormant neurons (Sokar et al. 2023, arXiv 2302.12902, Alg. 1).

The score of a hidden unit is its mean output over the mean of its layer's,

    s_i = E|h_i| / mean_k E|h_k|

Every redo_every updates, each unit with s_i <= tau gets new incoming weights, and
outgoing weights of 0; if a layer is silent, all its units do. Sokar et al. take the
expectation over a batch from a replay buffer, here it is over the last 32 batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real, whole
from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.units import replace_units, split_by_layer, unit_zeros

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.network import Network
    from trainables.stack import Memory, Stack

SCORED = 32
"""Batches that a score averages over; all of them if redo_every is smaller."""


@attrs.frozen(kw_only=True)
class ReDo(Intervention):
    """Regularly resets the units that are nearly silent.

    The default redo_every is Sokar et al.'s.
    """

    name: ClassVar[str] = "redo"
    redo_tau: float = real(
        0.1, meaning="largest score of a dormant unit, which is reset"
    )
    redo_every: int = whole(
        1000, unit="updates", meaning="updates between resets of dormant units"
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Remember the number of updates, and the sum of the units' recent outputs."""
        outputs = unit_zeros(network)
        steps = outputs.new_zeros(network.seeds).long()
        memory.marks |= {"outputs": outputs, "steps": steps}

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Add up outputs before the last updates of a period; recycle at its end."""
        from trainables.network import forward

        marks = stack.memory.marks
        left = self.redo_every - marks["steps"] % self.redo_every
        scored = (left <= SCORED)[:, None]
        if scored.any():
            hidden = forward(stack.network, inputs)[0][1:]
            sums = split_by_layer(stack, marks["outputs"])
            for total, h in zip(sums, hidden, strict=True):
                total += h.sum(1).where(scored, 0)
        logits = update(inputs, labels)
        marks["steps"] += 1
        due = (left == 1)[:, None]
        if due.any():
            self.recycle(stack, due)
        return logits

    def recycle(self, stack: Stack, due: Tensor) -> None:
        """Reset the dormant units of the seeds that are due: bool of shape (S, 1)."""
        marks = stack.memory.marks
        dormant = [
            (layer <= self.redo_tau * layer.mean(1, keepdim=True)) & due
            for layer in split_by_layer(stack, marks["outputs"])
        ]
        replace_units(stack, dormant, "recycle", marks["steps"])
        marks["outputs"].masked_fill_(due, 0)
