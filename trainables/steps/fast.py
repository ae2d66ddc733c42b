"""The torch engine: training steps that cost little besides their matrix products.

Let z = h W + b be a layer, where h is the input of the layer, with shape (batch, in).
Let d = dL/dz, with shape (batch, out). The gradient of W is h^T d, whose rank is at
most the batch size. The following numbers can therefore be computed without storing the
gradient. The squared norm of the gradient is (`*` is elementwise)

    ||grad W||^2 + ||grad b||^2 = sum((h h^T + 1) * (d d^T))

SAM and GNP need a second pass at the perturbed weights w + s grad, where s = rho /
(norm + EPSILON). In the second pass, h, z and d are called h', z' and d':

    forward pass         z' = h' W + b + s (h' h^T + 1) d
                         (the first layer has h' = h, so z' = z + s (h h^T + 1) d)
    backward pass        d' (W + s grad W)^T = d' W^T + s (d' d^T) h
    gradient for update  SAM: h'^T d'
                         GNP: (1 - alpha) h^T d + alpha h'^T d'
                         (the first layer needs only one product, as h' = h)

If a layer is small compared with the batch, it is cheaper to compute and store the
perturbed weights W + s grad W (`_is_explicit`). The matrix product for the gradient is
added directly to the weights. Instead of d, the code uses e = batch * d, to avoid
the factor 1 / batch. For the last layer, e = softmax(logits) - onehot(labels).

For ASAM, the gradient and the perturbed weights are always stored, because ASAM scales
the gradient by the size of each weight. `FastSurface` computes and stores the gradients
of all optimizers that are not such a mixture (`Optimizer.is_mixture`). If their ascent
step goes along the gradient, `FastSurface` uses the equations of the second pass above.
Networks with layer norm are not supported.

The results equal the results of `trainables.steps.reference`, except for rounding.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.networks.network import Network, forward
from trainables.networks.stack import Memory
from trainables.optimizers import EPSILON, Optimizer, Surface
from trainables.steps.reference import Slope, move, slope_on

WRITE_COST = 24
"""Measured cost of storing one element of a gradient, in multiplications."""

Number = float | Tensor
"""A number for all networks, or one for each network, of shape (S, 1, 1)."""

Term = tuple[Number, Tensor, Tensor]
"""A part of a layer's gradient: (share, h, e) means share * h^T e / batch."""


class Pass(NamedTuple):
    """The results of a forward and a backward pass.

    The gradient of a layer is h^T e / batch.
    """

    h: list[Tensor]  # input of each layer, (S, batch, in)
    z: Tensor  # the first layer's output before its ReLU, only with `keep_z`
    e: list[Tensor]  # batch * dL/dz of each layer, (S, batch, out)
    logits: Tensor


def step(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Float[Tensor, "S n outputs"]:
    """Update each network in place on its batch; return the logits before the update.

    `trainables.steps.reference.step` has the same arguments.
    """
    if not optimizer.is_mixture:
        slope = gradient(network, memory, optimizer, inputs, labels)
        move(network, memory, optimizer, slope)
        return slope.logits
    terms, logits = _terms(network, memory, optimizer, inputs, labels)
    velocity = memory.moments.get("velocity")
    _update(network, velocity, optimizer, terms, optimizer.rate(memory))
    return logits


def gradient(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Slope:
    """Return the optimizer's gradient for each seed, and the logits at the weights w.

    `trainables.steps.reference.gradient` has the same arguments.
    """
    if not optimizer.is_mixture:
        return slope_on(FastSurface(network, inputs, labels), optimizer, memory)
    terms, logits = _terms(network, memory, optimizer, inputs, labels)
    return Slope(_explicit_gradient(network, terms), logits)


class FastSurface(Surface):
    """The loss of a batch for S seeds, with gradients from the equations above."""

    def __init__(self, network: Network, inputs: Tensor, labels: Tensor) -> None:
        """Store the arguments. Nothing is computed yet."""
        batch = functools.partial(_stored_gradient, inputs=inputs, labels=labels)
        super().__init__(network, batch)
        self._inputs, self._labels = inputs, labels

    @functools.cached_property
    def _pass(self) -> Pass:
        return base_pass(self.network, self._inputs, self._labels, keep_z=True)

    @functools.cached_property
    def gradient(self) -> Network:
        """The gradient at w, from `_pass`."""
        return _explicit_gradient(self.network, _products(self._pass.h, self._pass.e))

    @property
    def logits(self) -> Tensor:
        """The logits at w, from `_pass` or (MSAM) from a forward pass without it."""
        if "_pass" in vars(self):
            return self._pass.logits
        return forward(self.network, self._inputs)[1]

    def gradient_uphill(self, radius: float | Tensor) -> Network:
        """Return the gradient at w + radius g / ||g||, where g is the gradient at w."""
        h, e = _ascent_pass(self.network, radius, self._pass, self._labels)
        return _explicit_gradient(self.network, _products(h, e))


def both_passes(
    network: Network,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, list[Tensor], Float[Tensor, "S n outputs"]]:
    """Do a forward and a backward pass, for each seed on its batch.

    `trainables.steps.reference.both_passes` returns the same.
    """
    h, _, e, logits = base_pass(network, inputs, labels, keep_z=False)
    return _explicit_gradient(network, _products(h, e)), h[1:], logits


def _stored_gradient(
    network: Network, inputs: Tensor, labels: Tensor
) -> tuple[Network, Tensor]:
    """Return the gradient and the logits, both at the weights of `network`."""
    gradient, _, logits = both_passes(network, inputs, labels)
    return gradient, logits


def _products(h: list[Tensor], e: list[Tensor]) -> list[list[Term]]:
    """Return the terms of the gradient h^T e / batch of each layer."""
    return [[(1, a, b)] for a, b in zip(h, e, strict=True)]


def _terms(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    inputs: Tensor,
    labels: Tensor,
) -> tuple[list[list[Term]], Tensor]:
    """Count one update; return the terms of each layer's gradient, and the logits."""
    optimizer.count(memory)
    ascends = bool(optimizer.rho and optimizer.alpha)
    base = base_pass(network, inputs, labels, keep_z=ascends)
    alpha, h, e = optimizer.ascent_weight(memory), base.h, base.e
    terms = _products(h, e)
    if not ascends:
        return terms, base.logits
    radius = optimizer.radius(memory)
    if optimizer.scales_ascent:
        slope = _explicit_gradient(network, terms)
        perturbed = network + optimizer.ascent(network, slope, radius)
        h2, _, e2, _ = base_pass(perturbed, inputs, labels, keep_z=False)
    else:
        h2, e2 = _ascent_pass(network, radius, base, labels)
    is_sam = not isinstance(alpha, Tensor) and alpha == 1
    mixed = e2[0] if is_sam else torch.lerp(e[0], e2[0], alpha)
    terms = [[(1, h[0], mixed)]]
    for i in range(1, len(h)):
        ascent_term = (alpha, h2[i], e2[i])
        base_term = (1 - alpha, h[i], e[i])
        terms.append([ascent_term] if is_sam else [base_term, ascent_term])
    return terms, base.logits


def base_pass(network: Network, inputs: Tensor, labels: Tensor, keep_z: bool) -> Pass:
    """Do a forward and a backward pass at the weights w.

    If `keep_z` is true, the first layer's output before its ReLU is kept for a second
    pass.
    """
    weights, biases = network.weights, network.biases
    h = [inputs]
    z = first = torch.baddbmm(biases[0], inputs, weights[0])
    for i in range(1, len(weights)):
        h.append(z.relu() if keep_z and i == 1 else z.relu_())
        z = torch.baddbmm(biases[i], h[i], weights[i])
    e = [error(z, labels)]
    for i in range(len(weights) - 1, 0, -1):
        e.append(through_relu(torch.bmm(e[-1], weights[i].mT), h[i]))
    return Pass(h, first, e[::-1], z)


def _ascent_pass(
    network: Network, rho: float | Tensor, base: Pass, labels: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Do a forward and a backward pass at the perturbed weights w + s grad.

    `base` is the pass at w. Returns h' and e' of each layer: its input and its error
    (batch * dL/dz) at the perturbed weights.
    """
    h, e = base.h, base.e
    batch, layers = h[0].shape[1], range(len(h))
    explicit = [_is_explicit(i, batch, *network.weights[i].shape[1:]) for i in layers]
    # h^T e if the layer's perturbed weights are stored (explicit), else h h^T + 1
    kernels = [
        torch.bmm(h[i].mT, e[i]) if explicit[i] else torch.bmm(h[i], h[i].mT).add_(1)
        for i in layers
    ]
    norm = _norm(kernels, e, explicit).div_(batch)
    # scaled_e = e * s / batch, so that s grad W = h^T scaled_e
    scale = norm.add_(EPSILON).reciprocal_().mul_(rho / batch)
    scaled_e = [e[i] * scale for i in layers]
    weights = [
        torch.baddbmm(network.weights[i].mT, scaled_e[i].mT, h[i]).mT
        if explicit[i]
        else network.weights[i]
        for i in layers
    ]
    h2 = [h[0]]
    for i in layers:
        b = network.biases[i]
        if explicit[i]:
            z = torch.baddbmm(b + scaled_e[i].sum(1, keepdim=True), h2[i], weights[i])
        elif i == 0:
            z = torch.baddbmm(base.z, kernels[0], scaled_e[0])
        else:
            z = torch.baddbmm(b, h2[i], weights[i])
            z.baddbmm_(torch.bmm(h2[i], h[i].mT).add_(1), scaled_e[i])
        if i < layers[-1]:
            h2.append(z.relu_())
    e2 = [error(z, labels)]
    for i in layers[:0:-1]:
        back = torch.bmm(e2[-1], weights[i].mT)
        if not explicit[i]:
            back.baddbmm_(torch.bmm(e2[-1], scaled_e[i].mT), h[i])
        e2.append(through_relu(back, h2[i]))
    return h2, e2[::-1]


def _is_explicit(layer: int, batch: int, inputs: int, outputs: int) -> bool:
    """Return whether it is cheaper to store the perturbed weights of a layer.

    Costs are counted in multiplications. Storing one element of the gradient costs
    about as much as `WRITE_COST` multiplications, because memory is slow.
    """
    pairs = batch * batch
    if layer == 0:
        implicit = pairs * (inputs + 2 * outputs) - batch * inputs * outputs
    else:
        implicit = 3 * pairs * (inputs + outputs)
    return (2 * batch + WRITE_COST) * inputs * outputs < implicit


def _norm(kernels: list[Tensor], e: list[Tensor], explicit: list[bool]) -> Tensor:
    """Return the norm of batch * gradient over all layers, of shape (S, 1, 1).

    The gradients of the examples can cancel each other, for example if all units of a
    network are dead and the batch is balanced. The squared norm, a sum over pairs of
    examples, is then only a rounding error, and can even be negative. Because the
    ascent step is divided by the norm, it would be far longer than rho. The squared
    norm is therefore set to at least the size of its rounding error.
    """
    # layer after layer, because the order of a sum over layers depends on S
    stored = pairs = least = e[0].new_zeros(len(e[0]))
    for kernel, error, is_explicit in zip(kernels, e, explicit, strict=True):
        if is_explicit:
            stored = stored + kernel.square().sum((1, 2))
            stored = stored + error.sum(1).square().sum(1)
        else:
            product = torch.bmm(error, error.mT).mul_(kernel)
            rounding = product.shape[-1] * torch.finfo(product.dtype).eps
            pairs = pairs + product.sum((1, 2))
            least = least + product.diagonal(dim1=1, dim2=2).sum(1).mul_(rounding)
    return (stored + torch.maximum(pairs, least)).sqrt_()[:, None, None]


def error(
    logits: Float[Tensor, "S n outputs"], labels: Int[Tensor, "S n"]
) -> Float[Tensor, "S n outputs"]:
    """Return softmax(logits) - onehot(labels), the error of the last layer.

    On a CPU, torch vectorizes softmax over the middle axis. With ten classes, this
    takes only 10% to 33% of the time that softmax over the last axis takes.
    """
    e = logits.mT.softmax(1)
    indices = labels.unsqueeze(1)
    minus_one = _minus_one(e.dtype, e.device).expand_as(indices)
    return e.scatter_add_(1, indices, minus_one).mT


@functools.cache
def _minus_one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), -1, dtype=dtype, device=device)


def through_relu(
    e: Float[Tensor, "S n width"], h: Float[Tensor, "S n width"]
) -> Float[Tensor, "S n width"]:
    """Set e to 0 in place where h, the output of a ReLU, is 0; return e."""
    backward: Any = torch.ops.aten.threshold_backward.grad_input
    backward(e, h, 0, grad_input=e)
    return e


def _update(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    terms: list[list[Term]],
    lr: Number,
) -> None:
    """Take a step of SGD in place. Each layer's gradient is the sum of its `terms`."""
    decay = optimizer.weight_decay
    keep = 1 - lr * decay if decay else 1.0
    for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if velocity is None:
            _add_products(w, b, keep, -lr, terms[i])
            continue
        v, u = velocity.weights[i], velocity.biases[i]
        _add_products(v, u, optimizer.momentum, 1, terms[i])
        for tensor, speed in ((w, v), (b, u)):
            if decay:
                speed.add_(tensor, alpha=decay)
            if isinstance(lr, Tensor):
                tensor.addcmul_(speed, lr, value=-1)
            else:
                tensor.add_(speed, alpha=-lr)


def _explicit_gradient(network: Network, terms: list[list[Term]]) -> Network:
    """Return the gradient of each layer: the sum of its `terms`."""
    slope = network.zeros_like()
    for w, b, layer_terms in zip(slope.weights, slope.biases, terms, strict=True):
        _add_products(w, b, 0, 1, layer_terms)
    return slope


def _add_products(
    w: Tensor, b: Tensor, keep: Number, rate: Number, terms: list[Term]
) -> None:
    """Replace w by keep w + rate (sum of share * h^T e / batch), in place.

    Each term in `terms` is (share, h, e). The biases b get the same update, with the
    sum of e over the batch instead of h^T e.
    """
    if isinstance(keep, Tensor):
        w.mul_(keep)
        b.mul_(keep)
        keep = 1.0
    for share, h, e in terms:
        alpha = rate * share / h.shape[1]
        if isinstance(alpha, Tensor):  # a product has one factor for all networks
            e, alpha = e * alpha, 1.0
        # w.mT is contiguous in memory (see `Network`)
        w.mT.baddbmm_(e.mT, h, beta=keep, alpha=alpha)
        if keep != 1:
            b.mul_(keep)
        b.add_(e.sum(1, keepdim=True), alpha=alpha)
        keep = 1
