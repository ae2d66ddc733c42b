"""WSAM: weighted SAM (Yue et al. 2023, KDD, arXiv 2305.15817).

WSAM minimizes L(w) + alpha (L(w + e) - L(w)), where alpha = gamma / (1 - gamma), e is
SAM's ascent step and L(w + e) - L(w) is SAM's sharpness. With g1 = grad L(w) and g2 =
grad L(w + e), it has two forms:

    coupled      the base steps along (1 - alpha) g1 + alpha g2
    decoupled    the base steps along g1, then w <- w - lr alpha (g2 - g1)

The coupled form is GNP with this alpha. Both forms and their defaults are from the
authors' code (intelligent-machine-learning/dlrover@19e5d79,
atorch/atorch/optimizers/wsam.py:30-103), without its optional clipping. Without
momentum and without Adam, the two forms are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import choice, real
from trainables.optimizers.sam import SAM

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.optimizers.surface import Surface


@attrs.frozen(kw_only=True)
class WSAM(SAM):
    """Adds SAM's sharpness to the loss, with a weight that can be above 1."""

    name: ClassVar[str] = "wsam"
    wsam_gamma: float = real(
        0.9,
        0,
        1,
        exclude_high=True,
        meaning="WSAM: alpha = gamma / (1 - gamma) is the weight of the sharpness",
    )
    wsam_form: str = choice(
        "decoupled",
        ("decoupled", "coupled"),
        meaning="WSAM: decoupled (the sharpness has its own step) or coupled",
    )

    @property
    def alpha(self) -> float:
        """The weight gamma / (1 - gamma): 0 for SGD, 1 for SAM, 9 by default."""
        return self.wsam_gamma / (1 - self.wsam_gamma)

    @property
    def is_mixture(self) -> bool:
        """See `Optimizer.is_mixture`: whether the form is coupled and rho constant."""
        is_plain = type(self) is WSAM  # a subclass can override `gradient`
        return is_plain and self.wsam_form == "coupled" and not self.is_scheduled

    def mix(self, surface: Surface, g2: Network) -> Network:
        """Return the gradient g along which the base steps.

        The coupled form returns the mixture. The decoupled form returns g1, and sets
        alpha (g2 - g1) as the correction of `surface`.
        """
        if self.wsam_form == "coupled":
            return super().mix(surface, g2)
        surface.correction = self.alpha * (g2 - surface.gradient)
        return surface.gradient
