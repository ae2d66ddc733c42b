"""SNR: reset hidden units that stay silent for unusually long.

Self-normalized resets are from Farias & Jozefiak 2025 (arXiv 2410.20098). This module
follows the authors' code (ajozefiak/SelfNormalizedResets@8b84f0c,
src/algorithms/snr.py:104-333 and src/experiments/pm_experiment.py:71-94).

A hidden unit is silent in an update if its output is not positive on any example of the
batch. For a ReLU, this means that the output is 0. The unit's silence is the number of
updates since it was last active (not silent). After an update, a unit is reset if its
silence has reached its threshold: it gets new incoming weights, and its bias and its
outgoing weights become 0. The moments of all these weights become 0 too.

Every unit learns its threshold from its own silences. A silence ends when the unit is
active again or is reset. After every snr_every tasks, let q be the snr_percentile
quantile of the lengths of the unit's ended silences, or 1 if there are none. If q is
below the threshold, the threshold becomes q, otherwise the threshold doubles. It always
stays between snr_least and snr_limit. Then the unit forgets its ended silences.

The authors' code counts examples, and this module counts updates. If all batches have
equal sizes, the two counts differ only by a constant factor. For Adam, new weights do
not get a new count of steps: Adam counts the steps of the run, as in the code
(snr.py:270-333).
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


@attrs.frozen(kw_only=True)
class SNR(Intervention):
    """Resets each hidden unit that is silent for longer than nearly all its silences.

    snr_percentile and snr_every have the defaults of the authors' code. The smallest
    threshold of their code is 100 examples. In batches of 16, these are about 7
    updates, the default of snr_least. The code has no defaults for snr_threshold and
    snr_limit.
    """

    name: ClassVar[str] = "snr"
    snr_percentile: float = real(
        0.99,
        0,
        1,
        exclude_low=True,
        meaning="SNR: share of a unit's silent periods that end within its threshold",
    )
    snr_every: int = whole(
        16, unit="tasks", meaning="SNR: tasks between changes of the thresholds"
    )
    snr_threshold: int = whole(
        100, unit="updates", meaning="SNR: first threshold of every unit"
    )
    snr_least: int = whole(7, unit="updates", meaning="SNR: smallest threshold")
    snr_limit: int = whole(1000, unit="updates", meaning="SNR: largest threshold")

    def begin(self, network: Network, memory: Memory) -> None:
        """Create the silences, the thresholds and the histograms of all units.

        The histograms have the shape (S, number of hidden units, snr_limit + 1). Entry
        n is the number of silences that ended after n updates.
        """
        import torch

        zeros = unit_zeros(network).long()
        length = self.snr_limit + 1
        memory.marks |= {
            "silence": zeros,
            "threshold": zeros + min(self.snr_threshold, self.snr_limit),
            "silences": zeros.new_zeros(*zeros.shape, length, dtype=torch.int32),
            "steps": zeros.new_zeros(network.seeds),
        }

    def begin_task(self, stack: Stack) -> None:
        """Set new thresholds, if snr_every divides the number of finished tasks."""
        if stack.task % self.snr_every:
            return
        marks = stack.memory.marks
        counts = marks["silences"][:, :, 1:].cumsum(2).double()
        total = counts[:, :, -1:].clamp(min=1)
        # argmax finds the first True. If no silence of the unit has ended, argmax is 0.
        length = (counts / total >= self.snr_percentile).int().argmax(2) + 1
        threshold = marks["threshold"]
        new_threshold = length.where(length < threshold, 2 * threshold)
        threshold.copy_(
            new_threshold.clamp_(min=self.snr_least).clamp_(max=self.snr_limit)
        )
        marks["silences"].zero_()

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, then reset the units that have been silent too long."""
        import torch

        from trainables.networks.network import forward

        hidden = forward(stack.network, inputs)[0][1:]
        is_silent = torch.cat([(h <= 0).all(1) for h in hidden], 1)
        logits = update(inputs, labels)
        self.judge(stack, is_silent)
        return logits

    def judge(self, stack: Stack, is_silent: Tensor) -> None:
        """Update the silences, and reset the units whose silence reaches the threshold.

        `is_silent` has shape (S, number of hidden units). It says which units were
        silent before the update.
        """
        marks = stack.memory.marks
        marks["steps"] += 1
        silence = marks["silence"]
        self._end_silences(marks, ~is_silent)
        silence += is_silent
        self.replace(stack)

    def replace(self, stack: Stack) -> None:
        """Reset the units whose silence has reached their threshold."""
        marks = stack.memory.marks
        to_reset = marks["silence"] >= marks["threshold"]
        if to_reset.any():
            self._end_silences(marks, to_reset)
            chosen = split_by_layer(stack, to_reset)
            replace_units(stack, chosen, "silence", marks["steps"], layer_by_layer=True)

    def _end_silences(self, marks: dict[str, Tensor], ended: Tensor) -> None:
        """Add the silences of the units in `ended` to the histograms, and end them."""
        length, increment = marks["silence"][:, :, None], ended[:, :, None]
        counts = marks["silences"]
        counts.scatter_add_(2, length, increment.to(counts.dtype))
        marks["silence"].masked_fill_(ended, 0)
