"""ASAM: adaptive SAM (Kwon et al. 2021, arXiv 2102.11600, Alg. 1).

    T = |w| + eta, elementwise;   g = grad L(w + rho T^2 g1 / ||T g1||_2)

The ascent step is the longest within an ellipsoid that scales with the weights, so
sharpness does not change when layers are rescaled and compute the same function. T
includes the biases, as in the paper; the authors' code leaves them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.sam import SAM

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(kw_only=True)
class ASAM(SAM):
    """SAM with a radius relative to the size of each weight; two passes.

    The defaults are Kwon et al.'s on CIFAR-10.
    """

    name: ClassVar[str] = "asam"
    rho: float = real(0.5, meaning="radius of the ascent step")
    eta: float = real(0.01, exclude_low=True, meaning="ASAM: added to |w| in T")

    def ascent_scale(self, weights: Tensor) -> Tensor:
        """Return |w| + eta."""
        return weights.abs() + self.eta
