"""The reference engine: training steps with autograd, which define the results.

The equations are in `trainables.optimizers.optimizer`. Tests compare the results of the
other engines with the results of this engine.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.network import Network, cross_entropy, forward
from trainables.optimizers import EPSILON, Optimizer


def step(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Float[Tensor, "S n outputs"]:
    """Update each network in place on its batch; return the logits before the update.

    `velocity` has the momentum buffers, which are updated in place. Without momentum,
    it is None.
    """
    slope, logits = gradient(network, optimizer, inputs, labels)
    descend(network, velocity, optimizer, slope)
    return logits


def gradient(
    network: Network,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, Float[Tensor, "S n outputs"]]:
    """Return the optimizer's gradient for each seed, and the logits at the weights."""
    return mixed_gradient(
        network, optimizer, lambda point: loss_gradient(point, inputs, labels)
    )


def descend(
    network: Network, velocity: Network | None, optimizer: Optimizer, gradient: Network
) -> None:
    """Take a step of SGD along `gradient`, in place.

    The step includes weight decay and momentum. `velocity` has the momentum buffers, or
    is None without momentum.
    """
    buffers = velocity or network  # without momentum, these values are not used
    for w, g, v in zip(
        network.tensors(), gradient.tensors(), buffers.tensors(), strict=True
    ):
        if optimizer.weight_decay:
            g = g + optimizer.weight_decay * w
        if velocity is not None:
            g = v.mul_(optimizer.momentum).add_(g)
        w.sub_(optimizer.lr * g)


def mixed_gradient(
    network: Network,
    optimizer: Optimizer,
    gradient_of: Callable[[Network], tuple[Network, Tensor]],
) -> tuple[Network, Tensor]:
    """Return (1 - alpha) g1 + alpha g2 of each seed, and the logits at the weights w.

    g1 is the gradient at w, and g2 is the gradient at the ascent point (see
    `ascended`). If the optimizer uses only one pass, as SGD does, g1 is returned.
    `gradient_of` takes networks, and returns each seed's gradient and logits.
    """
    g1, logits = gradient_of(network)
    if optimizer.passes == 1:
        return g1, logits
    g2, _ = gradient_of(ascended(network, optimizer, g1))
    alpha = optimizer.alpha
    if alpha == 1:
        return g2, logits
    return _add(g1.map(lambda g: (1 - alpha) * g), alpha, g2), logits


def ascended(network: Network, optimizer: Optimizer, gradient: Network) -> Network:
    """Return the networks at the ascent point w + rho g / ||g||, where g is `gradient`.

    If the optimizer scales the ascent elementwise by T, as ASAM does, the ascent point
    is w + rho T^2 g / ||T g||.
    """
    if not optimizer.scales_ascent:
        size = optimizer.rho / (norm(gradient) + EPSILON)
        return _add(network, size, gradient)
    of_bias = optimizer.ascent_scale if optimizer.scales_biases else torch.ones_like
    scales = [
        *map(optimizer.ascent_scale, network.weights),
        *map(of_bias, network.biases),
    ]
    scaled = _times(scales, gradient)
    size = optimizer.rho / (norm(scaled) + EPSILON)
    return _add(network, size, _times(scales, scaled))


def _times(scales: list[Tensor], network: Network) -> Network:
    pairs = zip(scales, network.tensors(), strict=True)
    return network.like([scale * tensor for scale, tensor in pairs])


def _add(one: Network, share: float | Tensor, other: Network) -> Network:
    """Return the networks one + share * other."""
    pairs = zip(one.tensors(), other.tensors(), strict=True)
    return one.like([a + share * b for a, b in pairs])


def loss_gradient(
    network: Network,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, Float[Tensor, "S n outputs"]]:
    """Return the gradient of each seed's mean loss on its batch, and the logits."""
    leaves = network.map(lambda tensor: tensor.detach().requires_grad_())
    with torch.enable_grad():
        _, logits = forward(leaves, inputs)
        loss = cross_entropy(logits, labels).mean(1).sum()
        gradients = torch.autograd.grad(loss, leaves.tensors())
    return network.like(gradients), logits.detach()


def norm(network: Network) -> Float[Tensor, "S 1 1"]:
    """Return each seed's L2 norm of all weights and biases."""
    squares = [t.square().sum((1, 2), keepdim=True) for t in network.tensors()]
    return torch.stack(squares).sum(0).sqrt()
