"""The base class of interventions. A run calls its methods at four points.

    begin        once: create the numbers that the intervention needs between steps
    begin_task   before each task except the first: change the networks
    penalize     at each update: add to the gradient, before momentum and Adam
    step         at each update: call the update, and act before or after the call

In `begin_task`, the inputs of the first layer are in the order of the image's pixels,
even if the tasks permute the pixels. If an intervention overrides neither `penalize`
nor `step`, the updates are the same as without an intervention.

An intervention changes the networks in place and treats each seed independently. It
draws random numbers from `trainables.randomness`, for a purpose that nothing else uses.
A seed's results therefore do not depend on the other seeds that are trained together.

The methods import torch only when they are called, because code that only creates
settings must start fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.interventions.noise import Noise
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack

Update = Callable[["Tensor", "Tensor"], "Tensor"]
"""The type of a function that updates networks in place on (inputs, labels).

It returns the logits before the update, of shape (S, n, outputs).
"""


@attrs.frozen(kw_only=True)
class Intervention:
    """Base class: the hyperparameters of an intervention, and its actions in a run."""

    name: ClassVar[str]
    normalizes: ClassVar[bool] = False
    """Whether the networks normalize their layers (see `Network.normalized`)."""

    def begin(self, network: Network, memory: Memory) -> None:
        """Add the numbers that the intervention needs between steps to `memory`."""

    def begin_task(self, stack: Stack) -> None:
        """Change the networks in place before a task, except before the first task."""

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add the gradient of a penalty to `gradient`, in place."""

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Call `update` on the batch and return its logits.

        An intervention that overrides this method also acts before or after the call.
        """
        return update(inputs, labels)

    def replace(self, stack: Stack) -> None:
        """Replace the hidden units that must be replaced after the last update.

        The native engine calls this method whenever the C code returns. The C code
        returns after an update if units must then be replaced.
        """

    def noise(self, network: Network) -> Noise | None:
        """Return the distribution of the noise of every update, or None for no noise.

        The native engine draws its noise from this distribution.
        """
        return None

    def idle_steps(self, stack: Stack) -> int:
        """Return for how many of the next updates `step` would only count the updates.

        The caller can make these updates without `step`, if it adds their number to
        marks["steps"] of `stack.memory`.
        """
        return 0

    @property
    def penalizes(self) -> bool:
        """Whether the intervention overrides `penalize`."""
        return type(self).penalize is not Intervention.penalize

    @property
    def steps(self) -> bool:
        """Whether the intervention overrides `step`."""
        return type(self).step is not Intervention.step

    @property
    def rests(self) -> bool:
        """Whether the intervention overrides `idle_steps`."""
        return type(self).idle_steps is not Intervention.idle_steps
