"""The torch engine: steps that cost little more than their matrix products.

Let z = h W + b be a layer and d = dL/dz (h is batch x in, d is batch x out). The
gradient is h^T d. Its rank is at most the batch size, so that the following quantities
can be computed without storing the gradient. Its norm is

    ||grad W||^2 + ||grad b||^2 = sum((h h^T + 1) * (d d^T)), elementwise

and, at the perturbed weights w + s grad with s = rho / (norm + EPSILON):

    second pass          z' = h' W + b + s (h' h^T + 1) d
                         (the first layer has h' = h, so z' = z + s (h h^T + 1) d)
    its backward         d' (W + s grad W)^T = d' W^T + s (d' d^T) h
    update               h'^T d' (SAM) or (1 - alpha) h^T d + alpha h'^T d' (GNP),
                         which for the first layer is one product

For a layer that is small compared with the batch, computing and storing W + s grad W is
cheaper (`_is_explicit`). The update is fused into the matrix product of the gradient.
Instead of d, the code uses e = batch * d = softmax(logits) - onehot(labels), which
avoids the factor 1 / batch.

ASAM scales the gradient by the size of each weight, so that its gradient and perturbed
weights are stored. Networks with layer norm are not supported.

Except for rounding, the results equal those of `trainables.steps.reference`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.network import Network
from trainables.optimizers import EPSILON, Optimizer
from trainables.steps.reference import ascended

WRITE_COST = 24
"""Cost of storing one element of a gradient, in multiplications (measured)."""

Term = tuple[float, Tensor, Tensor]
"""(share, h, e) is the term share * h^T e / batch of a layer's gradient."""


class Pass(NamedTuple):
    """One forward and backward pass: the factors of each layer's gradient."""

    h: list[Tensor]  # input of each layer, (S, batch, in)
    z: Tensor  # the first layer's output before its ReLU, if a second pass needs it
    e: list[Tensor]  # batch * dL/dz of each layer, (S, batch, out)
    logits: Tensor


def step(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Float[Tensor, "S n outputs"]:
    """Do the same as `trainables.steps.reference.step`."""
    terms, logits = _terms(network, optimizer, inputs, labels)
    _update(network, velocity, optimizer, terms)
    return logits


def gradient(
    network: Network,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, Float[Tensor, "S n outputs"]]:
    """Return the same as `trainables.steps.reference.gradient`."""
    terms, logits = _terms(network, optimizer, inputs, labels)
    return _explicit_gradient(network, terms), logits


def _terms(
    network: Network, optimizer: Optimizer, inputs: Tensor, labels: Tensor
) -> tuple[list[list[Term]], Tensor]:
    """Return the terms of each layer's gradient, and the logits."""
    base = _base_pass(network, inputs, labels, keep_z=optimizer.passes == 2)
    alpha, h, e = optimizer.alpha, base.h, base.e
    terms: list[list[Term]] = [[(1, a, b)] for a, b in zip(h, e, strict=True)]
    if optimizer.passes == 1:
        return terms, base.logits
    if optimizer.scales_ascent:
        perturbed = ascended(network, optimizer, _explicit_gradient(network, terms))
        h2, _, e2, _ = _base_pass(perturbed, inputs, labels, keep_z=False)
    else:
        h2, e2 = _ascent_pass(network, optimizer.rho, base, labels)
    mixed = e2[0] if alpha == 1 else torch.lerp(e[0], e2[0], alpha)
    terms = [[(1, h[0], mixed)]]
    for i in range(1, len(h)):
        ascent_term = (alpha, h2[i], e2[i])
        base_term = (1 - alpha, h[i], e[i])
        terms.append([ascent_term] if alpha == 1 else [base_term, ascent_term])
    return terms, base.logits


def _base_pass(network: Network, inputs: Tensor, labels: Tensor, keep_z: bool) -> Pass:
    """Go forward and backward at w; `keep_z` keeps z for a second pass."""
    weights, biases = network.weights, network.biases
    h = [inputs]
    z = first = torch.baddbmm(biases[0], inputs, weights[0])
    for i in range(1, len(weights)):
        h.append(z.relu() if keep_z and i == 1 else z.relu_())
        z = torch.baddbmm(biases[i], h[i], weights[i])
    e = [_error(z, labels)]
    for i in range(len(weights) - 1, 0, -1):
        e.append(_through_relu(torch.bmm(e[-1], weights[i].mT), h[i]))
    return Pass(h, first, e[::-1], z)


def _ascent_pass(
    network: Network, rho: float, base: Pass, labels: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Go forward and backward at w + s grad; return h' and e' of each layer."""
    h, e = base.h, base.e
    batch, layers = h[0].shape[1], range(len(h))
    explicit = [_is_explicit(i, batch, *network.weights[i].shape[1:]) for i in layers]
    # h^T e for an explicit layer, h h^T + 1 for any other layer
    kernels = [
        torch.bmm(h[i].mT, e[i]) if explicit[i] else torch.bmm(h[i], h[i].mT).add_(1)
        for i in layers
    ]
    norm = _norm(kernels, e, explicit).div_(batch)
    # s grad W = h^T scaled_e
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
    e2 = [_error(z, labels)]
    for i in layers[:0:-1]:
        back = torch.bmm(e2[-1], weights[i].mT)
        if not explicit[i]:
            back.baddbmm_(torch.bmm(e2[-1], scaled_e[i].mT), h[i])
        e2.append(_through_relu(back, h2[i]))
    return h2, e2[::-1]


def _is_explicit(layer: int, batch: int, inputs: int, outputs: int) -> bool:
    """Return whether it is cheaper to store the perturbed weights of a layer.

    The costs are compared in multiplications. Storing one element of the gradient costs
    about as much as `WRITE_COST` multiplications, because it goes through memory.
    """
    pairs = batch * batch
    if layer == 0:
        implicit = pairs * (inputs + 2 * outputs) - batch * inputs * outputs
    else:
        implicit = 3 * pairs * (inputs + outputs)
    return (2 * batch + WRITE_COST) * inputs * outputs < implicit


def _norm(kernels: list[Tensor], e: list[Tensor], explicit: list[bool]) -> Tensor:
    """Return the norm of batch * gradient over all layers, of shape (S, 1, 1).

    The gradients of the examples can cancel each other, for example in a dead network
    on a balanced batch. The sum of their products is then a rounding error and may even
    be negative. The ascent step divides by the norm, so that it would become far longer
    than rho. The sum is therefore kept above the rounding error.
    """
    squares, products = [], []
    for kernel, error, is_explicit in zip(kernels, e, explicit, strict=True):
        if is_explicit:
            squares += [kernel.square().sum((1, 2)), error.sum(1).square().sum(1)]
        else:
            products.append(torch.bmm(error, error.mT).mul_(kernel))
    if products:
        product = torch.stack(products)
        rounding = product.shape[-1] * torch.finfo(product.dtype).eps
        least = product.diagonal(dim1=2, dim2=3).sum((0, 2)).mul_(rounding)
        squares.append(torch.maximum(product.sum((0, 2, 3)), least))
    return torch.stack(squares).sum(0).sqrt_()[:, None, None]


def _error(
    logits: Float[Tensor, "S n outputs"], labels: Int[Tensor, "S n"]
) -> Float[Tensor, "S n outputs"]:
    """Return softmax(logits) - onehot(labels).

    On a CPU, torch vectorises softmax over the middle axis. With ten classes this takes
    a third to a tenth of the time of softmax over the last axis.
    """
    e = logits.mT.softmax(1)
    indices = labels.unsqueeze(1)
    minus_one = _minus_one(e.dtype, e.device).expand_as(indices)
    return e.scatter_add_(1, indices, minus_one).mT


@functools.cache
def _minus_one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), -1, dtype=dtype, device=device)


def _through_relu(
    e: Float[Tensor, "S n width"], h: Float[Tensor, "S n width"]
) -> Float[Tensor, "S n width"]:
    """Set e to 0 in place where h is 0, and return it."""
    backward: Any = torch.ops.aten.threshold_backward.grad_input
    backward(e, h, 0, grad_input=e)
    return e


def _update(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    terms: list[list[Term]],
) -> None:
    """Take a step of SGD along the gradient that is the sum of `terms`."""
    lr, decay = optimizer.lr, optimizer.weight_decay
    for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if velocity is None:
            _add_products(w, b, 1 - lr * decay, -lr, terms[i])
            continue
        v, u = velocity.weights[i], velocity.biases[i]
        _add_products(v, u, optimizer.momentum, 1, terms[i])
        for tensor, speed in ((w, v), (b, u)):
            if decay:
                speed.add_(tensor, alpha=decay)
            tensor.add_(speed, alpha=-lr)


def _explicit_gradient(network: Network, terms: list[list[Term]]) -> Network:
    """Return the gradient that is the sum of `terms`."""
    slope = network.zeros_like()
    for w, b, layer_terms in zip(slope.weights, slope.biases, terms, strict=True):
        _add_products(w, b, 0, 1, layer_terms)
    return slope


def _add_products(
    w: Tensor, b: Tensor, keep: float, rate: float, terms: list[Term]
) -> None:
    """Do w <- keep w + rate (sum of share * h^T e / batch), and update the bias too."""
    for share, h, e in terms:
        alpha = rate * share / h.shape[1]
        # the transpose is contiguous (see `Network`)
        w.mT.baddbmm_(e.mT, h, beta=keep, alpha=alpha)
        if keep != 1:
            b.mul_(keep)
        b.add_(e.sum(1, keepdim=True), alpha=alpha)
        keep = 1
