"""VaSSO: variance suppressed SAM (Li & Giannakis 2023, arXiv 2309.15639).

    d <- (1 - theta) d + theta g1,   g = grad L(w + rho d / ||d||)

where g1 = grad L(w). The average d suppresses the noise of the batches in the ascent
step. At the first update, d is g1. The defaults are from the authors' code
(BingcongLi/VaSSO@3524bad, solver/vasso.py:36-57, configs/defaulf_cfg.py:60-61). The
code adds 1e-7 to the norm of d, and this project adds `EPSILON`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.sam import SAM
from trainables.optimizers.surface import Surface, step_along

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class AveragingSAM(SAM):
    """The base class of VaSSO and F-SAM: SAM with a running average of gradients."""

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the average to 0, and mark the average as not begun."""
        super().begin(network, memory)
        memory.moments["ascent"] = network.zeros_like()
        memory.marks["ascent_begun"] = network.weights[0].new_zeros(network.seeds)

    def average(self, gradient: Network, memory: Memory, share: float) -> None:
        """Update the average: average += share * (gradient - average).

        The first time, the average of a seed becomes its gradient.
        """
        begun = memory.marks["ascent_begun"]
        shares = begun.new_full(begun.shape, share).where(begun > 0, 1.0)
        memory.moments["ascent"].lerp_(gradient, shares[:, None, None])
        begun.fill_(1)


@attrs.frozen(kw_only=True)
class VaSSO(AveragingSAM):
    """SAM that ascends along a running average of the gradients."""

    name: ClassVar[str] = "vasso"
    vasso_theta: float = real(
        0.9, 0, 1, meaning="VaSSO: share of the new gradient in the average; 1 is SAM"
    )

    def uphill(self, surface: Surface, memory: Memory) -> Network:
        """Update the average, and return the gradient after a step along it."""
        self.average(surface.gradient, memory, self.vasso_theta)
        step = step_along(memory.moments["ascent"], self.radius(memory))
        return surface.gradient_at(step)
