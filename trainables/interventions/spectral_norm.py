"""Spectral normalization: ||W||_2 is kept at most a bound (Gogianu et al. 2021).

arXiv 2105.05246, after Miyato et al. 2018 (arXiv 1802.05957), who divide W by its
largest singular value, which they follow by power iteration. W is that of the last
hidden layer: Gogianu et al. find a single layer, the penultimate, to be enough. Here W
is put back after every step, W <- W min(1, bound / ||W||_2), as Gouk et al. 2018
(arXiv 1804.04368) do, and ||W||_2 is exact, from the eigenvalues of W^T W: a power
iteration a step falls short where singular values are close, and the bound itself
makes them so. So it holds after every step to rounding (1e-5 of it in float32), and
nothing has to be remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.interventions.intervention import Update
    from trainables.stack import Stack


@attrs.frozen(kw_only=True)
class SpectralNorm(Intervention):
    """The last hidden layer may not stretch its input by more than a bound.

    Attributes:
        spectral_bound: Of its weights, above 0; 1 is the papers'.
    """

    name: ClassVar[str] = "spectral_norm"
    spectral_bound: float = real(
        1.0,
        exclude_low=True,
        meaning="largest spectral norm of the last hidden layer",
    )

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update, then put the weights back within the bound."""
        logits = update(inputs, labels)
        w = stack.network.weights[-2]
        w.mul_((self.spectral_bound / largest_singular_value(w)).clamp_(max=1))
        return logits


def largest_singular_value(w: Tensor) -> Tensor:
    """Return ||W||_2 of each seed's matrix, of shape (S, 1, 1); 0 if not finite."""
    import torch

    gram = w.mT @ w if w.shape[1] >= w.shape[2] else w @ w.mT
    # `eigvalsh` would make an error of one that is not finite, for all seeds
    finite = gram.isfinite().all(2).all(1)[:, None, None]
    values: Tensor = torch.linalg.eigvalsh(gram.where(finite, 0))
    return values[:, -1:, None].clamp_(min=0).sqrt_()
