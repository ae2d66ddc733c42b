"""SNR: reset hidden units that stay silent for unusually long.

Self-normalized resets are from Farias & Jozefiak 2025 (arXiv 2410.20098). This module
follows the authors' code (ajozefiak/SelfNormalizedResets@8b84f0c,
src/algorithms/snr.py:104-333 and src/experiments/pm_experiment.py:71-94).

A hidden unit is silent in an update if its output is nowhere positive on the batch,
which for a ReLU means that it is 0. Its silence is the number of updates since it was
last not silent. After an update, a unit whose silence reaches the unit's threshold is
reset: it gets new incoming weights, and its bias and its outgoing weights become 0. The
moments of these weights become 0 too.

Every unit learns its threshold from its own silences. After every snr_every tasks, let
q be the shortest length such that a share snr_percentile of the unit's ended silences
was at most q long. A silence ends when the unit is active again or is reset. If q is
below the threshold, the threshold becomes q, otherwise it doubles. It stays between
snr_least and snr_limit. If a unit was never silent, q is 1. The count of silences then
starts anew.

The authors' code counts examples, and this module counts updates, which is the same if
all batches have equal sizes. Adam's count of steps goes on for new weights: it counts
the steps of the run, as in the code (snr.py:270-333).
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
    """Resets hidden units that are silent for longer than in almost all earlier cases.

    snr_percentile and snr_every have the defaults of the authors' code. Its smallest
    threshold is 100 examples, which are the 7 updates of snr_least with batches of 16.
    The code has no default of snr_threshold and snr_limit.
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
        """Create each unit's silence and threshold, and counts of its ended silences.

        The counts have the shape (S, number of hidden units, snr_limit + 1). Entry n is
        the number of silences that ended after n updates.
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
        """Set the thresholds, if snr_every divides the number of finished tasks."""
        if stack.task % self.snr_every:
            return
        marks = stack.memory.marks
        counts = marks["silences"][:, :, 1:].cumsum(2).double()
        total = counts[:, :, -1:].clamp(min=1)
        # argmax finds the first True, or 0 if there is none: the unit was never silent
        length = (counts / total >= self.snr_percentile).int().argmax(2) + 1
        threshold = marks["threshold"]
        wanted = length.where(length < threshold, 2 * threshold)
        threshold.copy_(wanted.clamp_(max=self.snr_limit).clamp_(min=self.snr_least))
        marks["silences"].zero_()

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, then reset the units that are silent for too long.

        Returns the logits before the update.
        """
        import torch

        from trainables.networks.network import forward

        hidden = forward(stack.network, inputs)[0][1:]
        is_silent = torch.cat([(h <= 0).all(1) for h in hidden], 1)
        logits = update(inputs, labels)
        self.judge(stack, is_silent)
        return logits

    def judge(self, stack: Stack, is_silent: Tensor) -> None:
        """Update the silences, and reset the units whose silence reaches its threshold.

        The silence of a unit is the number of updates since its output was last
        positive on an example of the batch. `is_silent` has shape (S, number of hidden
        units). It says which units were silent before the update.
        """
        marks = stack.memory.marks
        marks["steps"] += 1
        silence = marks["silence"]
        self._end_silences(marks, ~is_silent)
        silence += is_silent
        self.replace(stack)

    def replace(self, stack: Stack) -> None:
        """Reset the units whose silence reaches its threshold."""
        marks = stack.memory.marks
        to_reset = marks["silence"] >= marks["threshold"]
        if to_reset.any():
            self._end_silences(marks, to_reset)
            chosen = split_by_layer(stack, to_reset)
            replace_units(stack, chosen, "silence", marks["steps"], layer_by_layer=True)

    def _end_silences(self, marks: dict[str, Tensor], ended: Tensor) -> None:
        """Add the silences of the units in `ended` to the counts, and set them to 0.

        `marks` is `Memory.marks`. `ended` has shape (S, number of hidden units).
        """
        length, is_new = marks["silence"][:, :, None], ended[:, :, None]
        counts = marks["silences"]
        counts.scatter_add_(2, length, is_new.to(counts.dtype))
        marks["silence"].masked_fill_(ended, 0)
