"""The four points of a run at which an intervention can act.

    begin        once: create what the intervention remembers
    begin_task   before each task but the first, with the input axis in pixel order
    penalize     at each update: add to the gradient, before momentum and Adam
    step         around each update: before it, after it, or both

A run whose intervention overrides neither `penalize` nor `step` takes the same steps
as without one. An intervention changes the networks in place. It treats each seed
independently and draws random numbers from `trainables.randomness` for a purpose of its
own, so that no seed depends on the others in its stack.

Functions import torch themselves: settings are also made where torch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.network import Network
    from trainables.stack import Memory, Stack

Update = Callable[["Tensor", "Tensor"], "Tensor"]
"""Updates networks in place on (inputs, labels); returns the logits before that."""


@attrs.frozen(kw_only=True)
class Intervention:
    """The hyperparameters of an intervention, and what it does."""

    name: ClassVar[str]
    normalizes: ClassVar[bool] = False
    """Whether the networks normalize their layers (see `Network.normalized`)."""

    def begin(self, network: Network, memory: Memory) -> None:
        """Put what these initial networks must remember into the memory."""

    def begin_task(self, stack: Stack) -> None:
        """Change the networks before a task, except the first one."""

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add a penalty's gradient to the gradient, in place."""

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
