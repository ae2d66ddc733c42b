"""LookSAM: SAM at every k-th update (Liu et al. 2022, arXiv 2203.02714, Alg. 1).

    every k-th update:   g = g2,   g_v = the component of g2 that is orthogonal to g1
    other updates:       g = g1 + alpha ||g1|| g_v / ||g_v||

where g1 = grad L(w) and g2 is SAM's gradient. g_v changes slowly, so the other updates
use the last g_v. The authors published no code. The equations and the defaults are from
the code in MarlonBecker/MSAM@780fa4f (optimizer/looksam.py:13-130). That code adds
1e-12 to ||g1||^2, and this project adds 1e-24. That code always divides by ||g_v||. In
this project, g_v / ||g_v|| is 0 if g_v is only a rounding error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real, whole
from trainables.optimizers.sam import SAM
from trainables.optimizers.surface import EPSILON, Surface, step_along

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class LookSAM(SAM):
    """SAM that computes its second gradient only at every k-th update.

    Other updates reuse the direction g_v. A k-th update needs two forward and backward
    passes, and the other updates need one. A new task does not reset the count of
    updates.
    """

    name: ClassVar[str] = "looksam"
    branches: ClassVar[bool] = True
    rho: float = real(0.3, meaning="radius of the ascent step")
    looksam_every: int = whole(
        5, unit="updates", meaning="LookSAM: updates from one step of SAM to the next"
    )
    looksam_alpha: float = real(
        0.2, meaning="LookSAM: size of the reused direction, relative to the gradient"
    )

    @property
    def passes(self) -> float:
        """One pass per update, and another in each k-th update."""
        return 1 + 1 / self.looksam_every if self.rho else 1

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the direction g_v / ||g_v|| and the number of updates to 0."""
        super().begin(network, memory)
        memory.moments["looksam"] = network.zeros_like()
        memory.marks["looksam_updates"] = network.weights[0].new_zeros(network.seeds)

    def gradient(self, surface: Surface, memory: Memory) -> Network:
        """Return g2 for seeds at a k-th update, and the mixture for the other seeds."""
        if not self.rho:
            return surface.gradient
        g1, kept = surface.gradient, memory.moments["looksam"]
        updates = memory.marks["looksam_updates"]
        is_kth = (updates % self.looksam_every == 0)[:, None, None]
        updates += 1
        g = g1 + kept * (self.looksam_alpha * g1.norm())
        if not is_kth.any():
            return g
        g2 = surface.gradient_uphill(self.radius(memory))
        orthogonal = g2 - g1 * (g1.dot(g2) / (g1.dot(g1) + EPSILON**2))
        kept.lerp_(step_along(orthogonal, 1.0, operand=g2), is_kth.to(updates.dtype))
        pairs = zip(g2.tensors(), g.tensors(), strict=True)
        return g.like([new.where(is_kth, reused) for new, reused in pairs])
