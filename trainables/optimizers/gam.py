"""GAM: gradient norm aware minimization (Zhang et al. 2023, CVPR, arXiv 2303.03108).

GAM seeks first-order flatness: weights around which, within gam_rho, all gradient norms
are small. The update is from the authors' code (xxgege/GAM@694133d, gam/gam.py:47-135).
With u(v) = v / ||v||, it has four gradients:

    g0 = grad L(w)                  g1 = grad L(w + rho u(g0))
    p = gam_rho u(g1 - g0)
    g2 = grad L(w + p)              g3 = grad L(w + p + rho u(g2))
    s = beta1 g1 + (1 - beta1) g3
    g = s - gamma (the component of g0 + |1 - beta0| g2 that is orthogonal to s)

Where the code has differences of gradients, the paper (Alg. 1) has products of the
Hessian and a vector. The paper does not print the last line. The defaults are from the
code for CIFAR-100 with a ResNet (main_cifar.py:94-136). The code's rhos follow lr (see
`trainables.optimizers.schedule`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.sam import SAM
from trainables.optimizers.surface import Surface, orthogonal_part, step_along

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class GAM(SAM):
    """SAM that also ascends to where the gradient is larger.

    Each update needs four forward and backward passes. With rho 0, GAM is SGD.
    """

    name: ClassVar[str] = "gam"
    rho: float = real(0.02, meaning="radius of the ascent step")
    gam_rho: float = real(
        0.2, meaning="GAM: radius of the step that makes the gradient larger"
    )
    gam_beta0: float = real(
        0.5,
        0,
        1,
        meaning="GAM: 1 minus the weight of the gradient after the step of gam_rho",
    )
    gam_beta1: float = real(
        0.6,
        0,
        1,
        meaning="GAM: weight of the gradient after the first ascent; the gradient "
        "after the second ascent has 1 minus this weight",
    )
    gam_gamma: float = real(
        0.03, meaning="GAM: share of the orthogonal gradient to subtract"
    )

    @property
    def passes(self) -> float:
        """Four passes per update, or one if rho is 0."""
        return 4 if self.rho else 1

    def gradient(self, surface: Surface, memory: Memory) -> Network:
        """Return the mixture of the four gradients."""
        if not self.rho:
            return surface.gradient
        radius, gam_radius = self.radius(memory), self.gam_rho * self.share(memory)
        g0, g1 = surface.gradient, surface.gradient_uphill(radius)
        step = step_along(g1 - g0, gam_radius, operand=g0)
        g2 = surface.gradient_at(step)
        g3 = surface.gradient_at(step + step_along(g2, radius))
        summed = self.gam_beta1 * g1 + (1 - self.gam_beta1) * g3
        other = g0 + (1 - self.gam_beta0) * g2
        return summed - self.gam_gamma * orthogonal_part(other, summed)
