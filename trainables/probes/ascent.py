"""How the loss and its gradient grow a small step uphill."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.landscape import Landscape
from trainables.steps.reference import norm


def sam_sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return L(w + rho g / ||g||) - L(w), g = grad L(w), in nats.

    What SAM adds to the loss (Foret et al. 2021, arXiv 2010.01412, eq. 1-2), to first
    order rho ||g||. rho is 0.05 whatever the setting's own is, so that settings can be
    compared; 0 where the gradient is 0.
    """
    uphill = landscape.loss_at(landscape.ascended)
    return uphill - landscape.loss_at(landscape.network)


def lipschitz(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return the largest gradient norm met in a ball of radius 0.05 around w.

    The loss is Lipschitz on the ball with the constant sup ||grad L(w + d)||, over
    ||d|| <= rho (mean value theorem); that a small one means a flat minimum is the
    argument of Zhao et al. 2022 (arXiv 2202.03599, sec. 3), and that of Koster & Kukla
    2024 (arXiv 2409.17300, sec. 2.1) for GNP. Looked at are w and two steps of
    projected ascent: w_1 = w + rho grad L(w) / ||grad L(w)||, and w_2, the same with
    grad L(w_1). So it is a lower bound of the constant.
    """
    first = landscape.gradient_at(landscape.ascended)
    second = landscape.gradient_at(landscape.climb(first))
    norms = [
        norm(gradient.map(Tensor.double)).flatten()
        for gradient in (landscape.gradient, first, second)
    ]
    return torch.stack(norms).amax(dim=0)
