"""What every intervention is made of: four places of a run where it may step in.

    begin        once: put what is to be remembered into the memory
    begin_task   before each task, with the network in its own order of inputs
    penalize     at each update: add to the gradient, before momentum or Adam see it
    step         around each update: before it, after it, or both

One that leaves a place out costs nothing there: a run without `penalize` and `step`
takes just the steps that it takes without any intervention. All work is in place,
for each seed by itself, and whatever is drawn comes from `trainables.randomness`
under a purpose of its own, so that no seed depends on those that share its stack.

torch is imported where it is needed only: settings are made where none is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.network import Network
    from trainables.stack import Memory, Stack

    Update = Callable[[Tensor, Tensor], Tensor]
    """Updates some seeds on a batch: inputs, labels -> the logits before it."""


@attrs.frozen(kw_only=True)
class Intervention:
    """The hyperparameters of an intervention, and what it does."""

    name: ClassVar[str]
    normalizes: ClassVar[bool] = False
    """Whether its networks normalize their layers (see `Network.normalized`)."""

    def begin(self, network: Network, memory: Memory) -> None:
        """Put what is to be remembered of these initial networks into the memory."""

    def begin_task(self, stack: Stack) -> None:
        """Change the networks before a task (the first one too)."""

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add a penalty's gradient to the loss's, in place."""

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Call the update and return its logits."""
        return update(inputs, labels)

    @property
    def penalizes(self) -> bool:
        """Whether `penalize` does anything."""
        return type(self).penalize is not Intervention.penalize

    @property
    def steps(self) -> bool:
        """Whether `step` does more than the update."""
        return type(self).step is not Intervention.step
