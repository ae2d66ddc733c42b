"""GSAM: surrogate gap guided SAM (Zhuang et al. 2022, arXiv 2203.08065).

    g = g2 - a (the component of g1 that is orthogonal to g2)

where g1 = grad L(w), g2 is SAM's gradient and a is gsam_alpha. With SAM's ascent step
e, the surrogate gap is L(w + e) - L(w). To first order, the second term of g reduces
this gap, and does not change L(w + e). The equation, its epsilons and the default of a
are from the authors' code (juntang-zhuang/GSAM@a770275, gsam/gsam.py:63-85;
example/train.py:30). Their example uses the ascent step of ASAM with rho = 2. This
project uses the ascent step and the default rho of SAM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.sam import SAM
from trainables.optimizers.surface import Surface, orthogonal_part

if TYPE_CHECKING:
    from trainables.networks.network import Network


@attrs.frozen(kw_only=True)
class GSAM(SAM):
    """SAM that also reduces the difference between L(w + e) and L(w)."""

    name: ClassVar[str] = "gsam"
    gsam_alpha: float = real(
        0.4, meaning="GSAM: share of the orthogonal gradient to subtract"
    )

    def mix(self, surface: Surface, g2: Network) -> Network:
        """Return g2 - gsam_alpha (the component of g1 that is orthogonal to g2)."""
        return g2 - self.gsam_alpha * orthogonal_part(surface.gradient, g2)
