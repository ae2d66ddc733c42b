"""Probes that step along the gradient, and measure the loss or its gradient there."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.networks.network import Network, forward
from trainables.optimizers.surface import step_along
from trainables.probes.landscape import Landscape, mean_loss
from trainables.probes.measure import landscape_probe
from trainables.probes.norms import double_norm

RADIUS = 0.05
"""The length of an uphill step: the value of Foret et al. (arXiv 2010.01412).

It does not depend on the optimizer's rho, so that settings can be compared.
"""

STEP_SIZE = 0.01
"""The step size of a step of gradient descent, the same for all settings."""


@landscape_probe(
    unit="nats", source="Foret et al. 2021 (arXiv 2010.01412)", also_before=True
)
def sam_sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """L(w + 0.05 g / ||g||) - L(w), where g is the gradient at w.

    SAM adds this term to the loss L (Foret et al. 2021, eq. 1-2). If the loss is almost
    linear near the weights w, the term is about 0.05 ||g||. If the gradient is 0, the
    term is 0.
    """
    ascended = _climb(landscape, landscape.gradient)
    return _loss_at(landscape, ascended) - landscape.loss


@landscape_probe(
    unit="nats",
    source="Zhao et al. 2022 (arXiv 2202.03599); Koster & Kukla 2024 (arXiv "
    "2409.17300), section 2.1",
    also_before=True,
)
def lipschitz(landscape: Landscape) -> Float[Tensor, " S"]:
    """Largest gradient norm at three points within 0.05 of w.

    The three points are the weights w and two points that are one uphill step from w:

        w_1 = w + rho grad L(w) / ||grad L(w)||
        w_2 = w + rho grad L(w_1) / ||grad L(w_1)||

    where rho is `RADIUS`, 0.05. By the mean value theorem, the largest gradient norm
    within rho of w is the Lipschitz constant of the loss L in this ball. This probe
    gives a lower bound of the constant. A small constant means a flat minimum (Zhao et
    al. 2022, sec. 3).
    """
    gradients = [landscape.gradient]
    for _ in range(2):
        gradients.append(landscape.gradient_at(_climb(landscape, gradients[-1])))
    return torch.stack([double_norm(g) for g in gradients]).amax(dim=0)


@landscape_probe(
    unit="nats", source="Wang et al. 2026 (arXiv 2605.09044)", only_before=True
)
def step_gain(landscape: Landscape) -> Float[Tensor, " S"]:
    """L(w) - L(w - 0.01 g), where g is the gradient at w.

    The gain is how much one step of gradient descent reduces the loss on the probe
    examples. Wang et al. call it one-step optimization gain. If the loss is almost
    linear near w, the gain is about 0.01 ||g||^2.
    """
    after = landscape.network - STEP_SIZE * landscape.gradient
    return landscape.loss - _loss_at(landscape, after)


def _climb(landscape: Landscape, direction: Network) -> Network:
    """Return the networks after a step of length `RADIUS` from w along `direction`."""
    return landscape.network + step_along(direction, RADIUS)


def _loss_at(landscape: Landscape, network: Network) -> Float[Tensor, " S"]:
    """Return the mean loss of `network` on the probe examples."""
    _, logits = forward(network, landscape.inputs)
    return mean_loss(logits, landscape.labels)
