"""The growth of the loss and of its gradient along a small step uphill."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.network import Network, cross_entropy, forward
from trainables.optimizers import EPSILON
from trainables.probes.landscape import Landscape
from trainables.probes.measure import landscape_probe
from trainables.probes.norms import double_norm
from trainables.steps.reference import norm

RADIUS = 0.05
"""Length of a step, the value of Foret et al. (arXiv 2010.01412).

All settings have the same length, whatever their own rho is, to be comparable.
"""


@landscape_probe(
    unit="nats", source="Foret et al. 2021 (arXiv 2010.01412)", also_before=True
)
def sam_sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """L(w + 0.05 g / ||g||) - L(w), where g is the gradient at w.

    SAM adds this term to the loss (Foret et al. 2021, eq. 1-2). To first order it is
    0.05 ||g||. It is 0 where the gradient is 0.
    """
    ascended = _climb(landscape, landscape.gradient)
    return _loss_at(landscape, ascended) - _loss_at(landscape, landscape.network)


@landscape_probe(
    unit="nats",
    source="Zhao et al. 2022 (arXiv 2202.03599); Koster & Kukla 2024 (arXiv "
    "2409.17300), section 2.1",
    also_before=True,
)
def lipschitz(landscape: Landscape) -> Float[Tensor, " S"]:
    """Largest gradient norm at three points within 0.05 of w.

    It is a lower bound of the Lipschitz constant of the loss within 0.05 of w. By the
    mean value theorem, the constant is sup ||grad L(w + d)|| over ||d|| <= rho. A small
    constant means a flat minimum (Zhao et al. 2022, sec. 3). The three points are w
    and two steps of projected ascent: w_1 = w + rho grad L(w) / ||grad L(w)|| and
    w_2 = w + rho grad L(w_1) / ||grad L(w_1)||. rho is `RADIUS`.
    """
    gradients = [landscape.gradient]
    for _ in range(2):
        gradients.append(landscape.gradient_at(_climb(landscape, gradients[-1])))
    return torch.stack([double_norm(g) for g in gradients]).amax(dim=0)


def _climb(landscape: Landscape, direction: Network) -> Network:
    """Return w after a step of length `RADIUS` in a direction."""
    size = RADIUS / (norm(direction) + EPSILON)
    steps = iter(direction.tensors())
    return landscape.network.map(lambda tensor: tensor + size * next(steps))


def _loss_at(landscape: Landscape, network: Network) -> Float[Tensor, " S"]:
    """Return the mean loss of `network`, averaged in float64."""
    _, logits = forward(network, landscape.inputs)
    return cross_entropy(logits, landscape.labels).double().mean(dim=1)
