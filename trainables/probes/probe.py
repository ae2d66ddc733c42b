"""What a probe sees: the networks, and what a fixed batch does in them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from torch import Tensor

from trainables.network import Network
from trainables.probes.spectrum import squared_singular_values

EXAMPLES = 512
"""Training examples of the task that a probe looks at (fewer where there are fewer)."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The state that the probes measure, before or after a task.

    Attributes:
        network: The S networks.
        hidden: Activations of each hidden layer, each of shape (S, n, width).
        gradient: Gradient of the mean loss on the probe examples.
        initial: The networks before the first task.
        before: The networks before this task.
    """

    network: Network
    hidden: list[Tensor]
    gradient: Network
    initial: Network
    before: Network

    @functools.cached_property
    def spectrum(self) -> Tensor:
        """Squared singular values of the last hidden layer's activations, ascending."""
        return squared_singular_values(self.hidden[-1])
