"""How the loss and its gradient grow on a small step uphill."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.landscape import Landscape
from trainables.probes.measure import landscape_probe
from trainables.steps.reference import norm


@landscape_probe(
    unit="nats",
    source="Foret et al. 2021 (arXiv 2010.01412)",
    meaning="L(w + 0.05 g / ||g||) - L(w), g the gradient at w",
    also_before=True,
)
def sam_sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return L(w + rho g / ||g||) - L(w), g = grad L(w).

    This is what SAM adds to the loss (Foret et al. 2021, eq. 1-2): rho ||g|| to first
    order. rho is 0.05 whatever the setting's own, so that settings can be compared; the
    result is 0 where the gradient is 0.
    """
    uphill = landscape.loss_at(landscape.ascended)
    return uphill - landscape.loss_at(landscape.network)


@landscape_probe(
    unit="nats",
    source="Zhao et al. 2022 (arXiv 2202.03599); Koster & Kukla 2024 (arXiv "
    "2409.17300), section 2.1",
    meaning="largest gradient norm seen within 0.05 of w",
    also_before=True,
)
def lipschitz(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return a lower bound of the loss's Lipschitz constant within 0.05 of w.

    By the mean value theorem the constant is sup ||grad L(w + d)|| over ||d|| <= rho; a
    small one means a flat minimum (Zhao et al. 2022, sec. 3). The supremum is taken
    over w and two steps of projected ascent: w_1 = w + rho grad L(w) / ||grad L(w)||,
    and w_2, the same with grad L(w_1).
    """
    first = landscape.gradient_at(landscape.ascended)
    second = landscape.gradient_at(landscape.climb(first))
    norms = [
        norm(gradient.map(Tensor.double)).flatten()
        for gradient in (landscape.gradient, first, second)
    ]
    return torch.stack(norms).amax(dim=0)
