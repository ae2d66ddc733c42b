"""Spectral regularization: keep the spectral norm of every layer close to 1.

The penalty of Lewandowski et al. 2024 (arXiv 2406.06811) is

    lambda sum_l (||W_l||_2^k - 1)^2 + ||b_l||^(2k)

||W||_2 is the largest singular value of the weights W of a layer, and b are the biases,
whose norm is regularized towards 0. One iteration of the power method per update
estimates ||W||_2, starting from the singular vector that the last update estimated. We
found no code of the authors, so this module follows the paper. `spectral_norm` is
another method, which limits the norm of one layer.

With unit vectors v and u of the inputs and outputs of the layer, the estimate is v^T W
u. Its gradient is v u^T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real, whole
from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack

TINY = 1e-12
"""Vectors that are shorter than this number are not scaled to length 1."""


@attrs.frozen(kw_only=True)
class SpectralRegularization(Intervention):
    """Adds a penalty on the distance of every layer's spectral norm from 1.

    spectral_strength is lambda, and its default is not from the paper.
    """

    name: ClassVar[str] = "spectral_regularization"
    spectral_strength: float = real(
        1e-3, meaning="factor of the penalty on spectral norms"
    )
    spectral_power: int = whole(2, meaning="power of the spectral norms in the penalty")

    def begin(self, network: Network, memory: Memory) -> None:
        """Store a vector for each layer, from which the power method starts.

        A vector has one entry per output of its layer. One tensor, of shape (S, number
        of outputs of all layers), has all vectors.
        """
        widths = sum(w.shape[2] for w in network.weights)
        memory.marks["directions"] = network.weights[0].new_ones(network.seeds, widths)

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add the gradient of the penalty, after one iteration of the power method."""
        import torch

        network, k = stack.network, self.spectral_power
        widths = [w.shape[2] for w in network.weights]
        directions = torch.split(stack.memory.marks["directions"], widths, dim=1)
        for w, g, direction in zip(
            network.weights, gradient.weights, directions, strict=True
        ):
            u = direction[:, :, None]
            v = w @ u
            v /= v.norm(dim=1, keepdim=True).clamp_(min=TINY)
            u = w.mT @ v
            size = u.norm(dim=1, keepdim=True)
            u /= size.clamp(min=TINY)
            direction.copy_(u[:, :, 0])
            slope = 2 * (size**k - 1) * k * size ** (k - 1)
            g.add_(v @ u.mT * slope, alpha=self.spectral_strength)
        for b, g in zip(network.biases, gradient.biases, strict=True):
            squares = b.square().sum(2, keepdim=True)
            slope = 2 * k * squares ** (k - 1)
            g.add_(b * slope, alpha=self.spectral_strength)
