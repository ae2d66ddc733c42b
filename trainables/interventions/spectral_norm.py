"""Spectral normalization: ||W||_2 never exceeds a bound (Gogianu et al. 2021).

arXiv 2105.05246, after Miyato et al. 2018 (arXiv 1802.05957), who divide W by a power
iteration's estimate of its largest singular value. W belongs to the last hidden layer:
Gogianu et al. find that one layer, the penultimate, is enough. Here W is projected
after every step, W <- W min(1, bound / ||W||_2), as in Gouk et al. 2018 (arXiv
1804.04368), with an exact ||W||_2 from the eigenvalues of W^T W. A single power
iteration per step would underestimate it where singular values are close, and the bound
brings them close. So the bound holds after every step to rounding (1e-5 relative in
float32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention, Update

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.stack import Stack


@attrs.frozen(kw_only=True)
class SpectralNorm(Intervention):
    """Bounds how much the last hidden layer stretches its input; the papers' is 1."""

    name: ClassVar[str] = "spectral_norm"
    spectral_bound: float = real(
        1.0, exclude_low=True, meaning="largest spectral norm of the last hidden layer"
    )

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update, then scale the weights down to the bound."""
        logits = update(inputs, labels)
        w = stack.network.weights[-2]
        w.mul_((self.spectral_bound / largest_singular_value(w)).clamp_(max=1))
        return logits


def largest_singular_value(w: Tensor) -> Tensor:
    """Return ||W||_2 of each seed's matrix, of shape (S, 1, 1); 0 if not finite."""
    import torch

    gram = w.mT @ w if w.shape[1] >= w.shape[2] else w @ w.mT
    # one matrix that is not finite would make `eigvalsh` fail for all seeds
    finite = gram.isfinite().all(2).all(1)[:, None, None]
    values: Tensor = torch.linalg.eigvalsh(gram.where(finite, 0))
    return values[:, -1:, None].clamp_(min=0).sqrt_()
