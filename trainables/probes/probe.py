"""What a probe sees: the networks, and what a fixed batch does in them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainables.network import Network

EXAMPLES = 512
"""Training examples of the task that a probe looks at (fewer where there are fewer)."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The state that the probes measure, after a task.

    Attributes:
        network: The S networks.
        hidden: Activations of each hidden layer, each of shape (S, n, width).
        gradient: Gradient of the mean loss on the probe examples.
    """

    network: Network
    hidden: list[Tensor]
    gradient: Network
