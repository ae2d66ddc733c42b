"""ASAM: adaptive SAM (Kwon et al. 2021, arXiv 2102.11600, Alg. 1).

    T = |w| + eta, elementwise;   g = grad L(w + rho T^2 g1 / ||T g1||_2)

where g1 = grad L(w). The ascent step goes to the surface of an ellipsoid that scales
with the weights. So ASAM's sharpness does not change if the layers are rescaled in a
way that does not change the network's function.

For a bias, T is 1, as in the authors' code (SamsungLabs/ASAM@f156a68, asam.py:13-38).
The published rho was found with this code. In the paper, the equation for T applies to
biases too. `ascent_scaled` = "all" follows the paper, as davda54/sam@3c3afdb does
(sam.py:16-59). The author of that code found rho = 2 best (davda54/sam#37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import choice, real
from trainables.optimizers.sam import SAM
from trainables.optimizers.surface import EPSILON

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network


@attrs.frozen(kw_only=True)
class ASAM(SAM):
    """SAM with a perturbation that is relative to the size of each weight.

    Kwon et al. use the default hyperparameters for CIFAR-10.
    """

    name: ClassVar[str] = "asam"
    rho: float = real(0.5, meaning="radius of the ascent step")
    eta: float = real(
        0.01,
        exclude_low=True,
        meaning="ASAM: the ascent step of a weight w is scaled by (|w| + eta)^2",
    )
    ascent_scaled: str = choice(
        "weights",
        ("weights", "all"),
        meaning="ASAM: parameters whose ascent step is scaled: weights, or all (also "
        "biases); null in old records: all",
    )

    @property
    def scales_biases(self) -> bool:
        """Whether the ascent step of the biases is scaled too."""
        return self.ascent_scaled == "all"

    def ascent(
        self, network: Network, gradient: Network, radius: float | Tensor
    ) -> Network:
        """Return the ascent step: radius * T^2 g / ||T g||, where g is `gradient`."""

        def scaled(direction: Network) -> Network:
            pairs = zip(scales, direction.tensors(), strict=True)
            return direction.like([scale * tensor for scale, tensor in pairs])

        scales: list[Tensor | float] = [w.abs() + self.eta for w in network.tensors()]
        if not self.scales_biases:
            scales[len(network.weights) :] = [1.0] * len(network.biases)
        direction = scaled(gradient)
        return scaled(direction) * (radius / (direction.norm() + EPSILON))
