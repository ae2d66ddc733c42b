"""ASAM: adaptive SAM (Kwon et al. 2021, arXiv 2102.11600, Alg. 1).

    T = |w| + eta, elementwise;   g = grad L(w + rho T^2 g1 / ||T g1||_2)

where g1 = grad L(w). The ascent step goes to the surface of an ellipsoid that scales
with the weights. If the layers are rescaled and the network computes the same function,
this sharpness therefore does not change. T includes the biases, as in the paper. The
authors' code leaves the biases out.
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
    """SAM with a perturbation that is relative to the size of each weight.

    Each update needs two forward and backward passes. The default hyperparameters are
    those of Kwon et al. for CIFAR-10.
    """

    name: ClassVar[str] = "asam"
    rho: float = real(0.5, meaning="radius of the ascent step")
    eta: float = real(
        0.01,
        exclude_low=True,
        meaning="ASAM: added to |w| in the scale of the ascent step",
    )

    def ascent_scale(self, weights: Tensor) -> Tensor:
        """Return |w| + eta, the scale of the ascent step for each weight w."""
        return weights.abs() + self.eta
