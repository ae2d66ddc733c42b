"""Spectral normalization: limit the spectral norm ||W||_2 of one weight matrix W.

||W||_2 is the largest singular value of W. W belongs to the last hidden layer, because
Gogianu et al. 2021 (arXiv 2105.05246) find that normalizing this one layer is enough.
After every step, W becomes W min(1, bound / ||W||_2), as in Gouk et al. 2018 (arXiv
1804.04368).

||W||_2 is computed exactly, from the eigenvalues of W^T W. The bound therefore holds
after every step, with a relative rounding error of 1e-5 in float32. The C code computes
the same value in less time by conjugate gradients (`trainables/steps/c/penalties.c`).

Gogianu et al. follow Miyato et al. 2018 (arXiv 1802.05957), who estimate ||W||_2 by
power iteration. With one iteration per step, the estimate is too small if the largest
singular values are close together. A limit of ||W||_2 brings them close together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention, Update

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.stack import Stack


@attrs.frozen(kw_only=True)
class SpectralNorm(Intervention):
    """Limits the spectral norm of the last hidden layer's weights after every step.

    The default bound is 1, as in Gogianu et al. 2021 and Miyato et al. 2018.
    """

    name: ClassVar[str] = "spectral_norm"
    spectral_bound: float = real(
        1.0, exclude_low=True, meaning="largest spectral norm of the last hidden layer"
    )

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, then limit the norm of the last hidden layer.

        An actor and a critic have such a layer each.
        """
        logits = update(inputs, labels)
        for head in stack.network.heads:
            w = stack.network.weights[head - 1]
            w.mul_((self.spectral_bound / largest_singular_value(w)).clamp_(max=1))
        return logits


def largest_singular_value(w: Tensor) -> Tensor:
    """Return ||W||_2, the largest singular value, of each seed's matrix W.

    The result has shape (S, 1, 1). If a matrix is not finite, the result is 0.
    """
    import torch

    gram = w.mT @ w if w.shape[1] >= w.shape[2] else w @ w.mT
    # one matrix that is not finite would make `eigvalsh` fail for all seeds
    finite = gram.isfinite().all(2).all(1)[:, None, None]
    values: Tensor = torch.linalg.eigvalsh(gram.where(finite, 0))
    return values[:, -1:, None].clamp_(min=0).sqrt_()
