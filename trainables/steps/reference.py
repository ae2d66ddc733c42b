"""The reference engine: training steps with autograd, which define the results.

The equations are in `trainables.optimizers.optimizer`. Tests compare the results of the
other engines with the results of this engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from trainables.bases import Adam
from trainables.networks.network import Network, cross_entropy, forward
from trainables.networks.stack import Memory
from trainables.optimizers import Optimizer, Surface

Loss = Callable[[Tensor, Tensor], Tensor]
"""The type of a loss: it takes outputs (S, n, outputs) and targets, e.g. labels (S, n).

It returns the loss of each example, of shape (S, n).
"""

GradientOf = Callable[[Network, Tensor, Tensor], tuple[Network, Tensor]]
"""The type of a function that takes networks, inputs and the targets of a loss.

It returns the gradient of each seed's mean loss, and the outputs.
"""

Passes = Callable[[Network, Tensor, Tensor], tuple[Network, list[Tensor], Tensor]]
"""The type of `both_passes`."""


class Slope(NamedTuple):
    """The gradients that an optimizer computes for S networks, and their logits."""

    gradient: Network  # without penalty and weight decay
    logits: Tensor  # at the weights, (S, n, outputs)
    correction: Network | None = None  # see `trainables.optimizers.Surface`


def step(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Float[Tensor, "S n outputs"]:
    """Update each network in place on its batch; return the logits before the update.

    `memory` has the momentum buffers and the numbers of the optimizer, which are
    updated in place. `trainables.steps.update.initial_memory` creates it.
    """
    slope = gradient(network, memory, optimizer, inputs, labels)
    move(network, memory, optimizer, slope)
    return slope.logits


def gradient(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Shaped[Tensor, "S n ..."],
    gradient_of: GradientOf | None = None,
) -> Slope:
    """Return the optimizer's gradient for each seed, and the logits at the weights.

    If `Optimizer.is_mixture` is true, this function computes all seeds together.
    Otherwise, it computes one seed after the other. `gradient_of` computes the gradient
    of the loss, whose targets are the `labels`. The default is `loss_gradient`. If
    `network` has batch normalization, the pass at the weights moves its running
    statistics in place.
    """
    plain = gradient_of or loss_gradient

    def slope_of(part: slice) -> Slope:
        own = network.map(lambda tensor: tensor[part]).in_mode("learn")
        x, y = inputs[part], labels[part]
        surface = Surface(own, lambda point: plain(point, x, y))
        return slope_on(surface, optimizer, memory.map(lambda tensor: tensor[part]))

    if optimizer.is_mixture:
        return slope_of(slice(None))
    slopes = [slope_of(slice(i, i + 1)) for i in range(network.seeds)]
    g, logits, corrections = zip(*slopes, strict=True)
    correction = None if corrections[0] is None else _join(corrections)
    return Slope(_join(g), torch.cat(logits), correction)


def _join(networks: tuple[Network, ...]) -> Network:
    tensors = zip(*(network.tensors() for network in networks), strict=True)
    return networks[0].like([torch.cat(parts) for parts in tensors])


def slope_on(surface: Surface, optimizer: Optimizer, memory: Memory) -> Slope:
    """Count one update in `memory`; return the optimizer's gradient on `surface`."""
    optimizer.count(memory)
    gradient = optimizer.gradient(surface, memory)
    return Slope(gradient, surface.logits, surface.correction)


def move(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    slope: Slope,
    base: Adam | None = None,
    *,
    fused: bool = False,
) -> None:
    """Update the weights in place: take a step of the base, or of SGD without a base.

    Then subtract lr * correction from the weights, if there is a correction. `memory`
    has the numbers that the base or momentum needs. With `fused`, a base can use one
    operation for its whole step, which rounds differently.
    """
    lr = optimizer.rate(memory)
    if base is None:
        velocity = memory.moments.get("velocity")
        descend(network, velocity, optimizer, slope.gradient, lr)
    else:
        if optimizer.weight_decay:
            for g, w in zip(slope.gradient.tensors(), network.tensors(), strict=True):
                g.add_(w, alpha=optimizer.weight_decay)
        base.descend(network, memory, slope.gradient, lr, fused=fused)
    if slope.correction is not None:
        for w, c in zip(network.tensors(), slope.correction.tensors(), strict=True):
            w.sub_(lr * c)


def descend(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    gradient: Network,
    lr: float | Tensor,
) -> None:
    """Take a step of SGD along `gradient`, in place, with weight decay and momentum.

    `velocity` has the momentum buffers, or is None without momentum.
    """
    buffers = velocity or network  # without momentum, these values are not used
    for w, g, v in zip(
        network.tensors(), gradient.tensors(), buffers.tensors(), strict=True
    ):
        if optimizer.weight_decay:
            g = g + optimizer.weight_decay * w
        if velocity is not None:
            g = v.mul_(optimizer.momentum).add_(g)
        w.sub_(lr * g)


def loss_gradient(
    network: Network,
    inputs: Float[Tensor, "S n inputs"],
    labels: Shaped[Tensor, "S n ..."],
    loss: Loss = cross_entropy,
) -> tuple[Network, Float[Tensor, "S n outputs"]]:
    """Return the gradient of each seed's mean loss on its batch, and the logits.

    `labels` are the targets of the loss.
    """
    gradient, _, logits = both_passes(network, inputs, labels, loss)
    return gradient, logits


def both_passes(
    network: Network,
    inputs: Float[Tensor, "S n inputs"],
    labels: Shaped[Tensor, "S n ..."],
    loss: Loss = cross_entropy,
) -> tuple[Network, list[Tensor], Float[Tensor, "S n outputs"]]:
    """Do a forward and a backward pass, for each seed on its batch.

    Returns the gradient of each seed's mean loss, the outputs of the hidden layers, and
    the logits.
    """
    leaves = network.leaves()
    with torch.enable_grad():
        layers, logits = forward(leaves, inputs)
        total = loss(logits, labels).mean(1).sum()
        gradients = torch.autograd.grad(total, leaves.tensors())
    hidden = [layer.detach() for layer in layers[1:]]
    return network.like(gradients), hidden, logits.detach()
