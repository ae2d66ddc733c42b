"""Probes that compare gradients and curvatures of small batches at the same weights.

The probe examples are cut into K batches of 16 examples. For most tasks, K is 32. Let
g_k be the gradient of the mean loss on batch k, and g the mean of the g_k.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.networks.network import Network, cross_entropy, forward
from trainables.probes.landscape import Landscape
from trainables.probes.measure import landscape_probe
from trainables.probes.norms import double_norm

BAVEJA = "Baveja et al. 2025 (arXiv 2509.19698)"


@landscape_probe(source=BAVEJA, only_before=True)
def gradient_noise(landscape: Landscape) -> Float[Tensor, " S"]:
    """Variance of the gradients of batches of 16, divided by the square of their mean.

    The variance is sum_k ||g_k - g||^2 / (K - 1). If all batches agree, the value is 0.
    If they have nothing in common, it is about K, because g is then only noise. Baveja
    et al. use the noise for a bound on the step size of each layer; here, all layers
    are measured together.
    """
    square, squares = _mean_square(landscape), landscape.batch_squares
    count = squares.shape[1]
    variance = (squares.mean(dim=1) - square).clamp(min=0) * count / (count - 1)
    return variance / torch.where(square > 0, square, 1)


@landscape_probe(
    unit="nats^2", source="Wang et al. 2026 (arXiv 2605.09044)", only_before=True
)
def optimization_readiness(landscape: Landscape) -> Float[Tensor, " S"]:
    """||g||^4 / mean_k ||g_k||^2; g is the mean of the gradients g_k of batches of 16.

    The factor ||g||^2 is the strength of the gradient. The factor ||g||^2 / mean_k
    ||g_k||^2 is its reliability: the share, at most 1, of a batch's gradient that all
    batches have in common. Wang et al. prove that the product, up to a constant factor,
    is a lower bound of the gain of one step.
    """
    square, squares = _mean_square(landscape), landscape.batch_squares
    mean_square = squares.mean(dim=1)
    return square * square / torch.where(mean_square > 0, mean_square, 1)


@landscape_probe(source=BAVEJA, only_before=True)
def curvature_volatility(landscape: Landscape) -> Float[Tensor, " S"]:
    """Relative standard deviation of the curvature along the gradient in batches of 16.

    The curvature of batch k is u^T H_k u, with u = g / ||g|| and the Hessian H_k of the
    mean loss on the batch. The value is the standard deviation over the batches,
    divided by the absolute value of the mean. If every curvature is 0, the value is 0.
    Baveja et al. follow the largest eigenvalue along the updates. This probe saves time
    by measuring all batches at the same weights.
    """
    mean, count = landscape.mean_gradient, landscape.batch_count
    size = double_norm(mean)[:, None, None].to(landscape.inputs.dtype)
    direction = mean * (1 / torch.where(size > 0, size, 1))
    if count == 1:
        return torch.full_like(size[:, 0, 0], torch.nan, dtype=torch.float64)
    values = _curvatures(landscape, direction).double()
    center = values.mean(dim=1).abs()
    return values.std(dim=1) / torch.where(center > 0, center, 1)


def _mean_square(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return ||g||^2 of each seed."""
    return double_norm(landscape.mean_gradient).square()


def _curvatures(landscape: Landscape, direction: Network) -> Float[Tensor, "S K"]:
    """Return u^T H_k u for each seed and batch, where u is `direction`.

    A `Chain` gives the curvature of each example, whose mean over a batch is that of
    the batch. Otherwise, let L be the sum of share_k L_k over the batches. Its
    curvature along u is linear in the shares, and the derivative with respect to
    share_k is u^T H_k u. So one network gives the curvatures of all batches; without
    the shares, each batch would need its own copy of the network.
    """
    count, (inputs, labels) = landscape.batch_count, landscape.in_batches
    if landscape.chain is not None:
        values = landscape.chain.curvatures(direction)[:, : labels.shape[1]]
        return values.reshape(len(values), count, -1).mean(dim=2)
    network = landscape.network.leaves()
    weights, u = network.tensors(), direction.tensors()
    with torch.enable_grad():
        shares = inputs.new_ones(network.seeds, count, requires_grad=True)
        losses = cross_entropy(forward(network, inputs)[1], labels)
        loss = (shares * losses.reshape(len(losses), count, -1).mean(dim=2)).sum()
        gradient = torch.autograd.grad(loss, weights, create_graph=True)
        products = torch.autograd.grad(
            gradient,
            weights,
            u,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.autograd.grad(products, shares, u)[0]
