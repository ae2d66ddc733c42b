"""The step of every optimizer, close to the price of its matrix products.

For a layer z = h W + b with d = dL/dz (h is batch x in, d is batch x out) the gradient
is h^T d, of rank at most the batch size, so nothing needs it written out:

    ||grad W||^2 + ||grad b||^2 = sum((h h^T + 1) * (d d^T)), elementwise

and, at the perturbed weights w + s grad with s = rho / (norm + EPSILON),

    second pass          z' = h' W + b + s (h' h^T + 1) d
                         (the first layer has h' = h, so z' = z + s (h h^T + 1) d)
    its backward         d' (W + s grad W)^T = d' W^T + s (d' d^T) h
    update               h'^T d' (SAM) or (1 - alpha) h^T d + alpha h'^T d' (GNP),
                         which for the first layer is one product

Where a layer is small against the batch, writing W + s grad W out is cheaper
(`_writes_out`). The update is fused into its product. In place of d, which has a
factor 1 / batch, the code carries e = batch * d = softmax(logits) - onehot(labels).

ASAM scales each weight's gradient by its own size, so there gradient and perturbed
weights are written out. Normalized networks have no fast form.

Everything is what `trainables.steps.reference` computes, to rounding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.network import Network
from trainables.optimizers import EPSILON, Optimizer
from trainables.steps.reference import ascended

WRITING = 24
"""What an element that is written out costs, in multiplications (measured)."""

Term = tuple[float, Tensor, Tensor]
"""A share of the gradient: share, h, e."""


@dataclass
class Pass:
    """One forward and backward pass: what each layer's gradient is made of.

    Attributes:
        h: Input of each layer, of shape (S, batch, in).
        z: The first layer's output before its ReLU; the others are not kept.
        e: batch * dL/dz of each layer, of shape (S, batch, out).
        logits: The last layer's output.
    """

    h: list[Tensor]
    z: Tensor
    e: list[Tensor]
    logits: Tensor


def step(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Float[Tensor, "S n outputs"]:
    """Update the networks in place; return the logits before the update.

    The arguments are those of `trainables.steps.reference.step`.
    """
    terms, logits = _terms(network, optimizer, inputs, labels)
    _update(network, velocity, optimizer, terms)
    return logits


def gradient(
    network: Network,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, Float[Tensor, "S n outputs"]]:
    """Return what `trainables.steps.reference.gradient` returns."""
    terms, logits = _terms(network, optimizer, inputs, labels)
    return _written(network, terms), logits


def _terms(
    network: Network, optimizer: Optimizer, inputs: Tensor, labels: Tensor
) -> tuple[list[list[Term]], Tensor]:
    """Return what each layer's gradient is the sum of, and the logits."""
    here = _first_pass(network, inputs, labels, again=optimizer.passes == 2)
    alpha, h, e = optimizer.alpha, here.h, here.e
    if optimizer.passes == 1:
        return [[(1, a, b)] for a, b in zip(h, e, strict=True)], here.logits
    if optimizer.scales_ascent:
        h2, e2 = _adaptive_pass(network, optimizer, here, labels)
    else:
        h2, e2 = _second_pass(network, optimizer.rho, here, labels)
    mixed = e2[0] if alpha == 1 else torch.lerp(e[0], e2[0], alpha)
    terms: list[list[Term]] = [[(1, h[0], mixed)]]
    for i in range(1, len(h)):
        above = (alpha, h2[i], e2[i])
        terms.append([above] if alpha == 1 else [(1 - alpha, h[i], e[i]), above])
    return terms, here.logits


def _first_pass(network: Network, inputs: Tensor, labels: Tensor, again: bool) -> Pass:
    """Go forward and backward at w; keep what a second pass needs, if `again`."""
    weights, biases = network.weights, network.biases
    h = [inputs]
    z = first = torch.baddbmm(biases[0], inputs, weights[0])
    for i in range(1, len(weights)):
        h.append(z.relu() if again and i == 1 else z.relu_())
        z = torch.baddbmm(biases[i], h[i], weights[i])
    e = [_error(z, labels)]
    for i in range(len(weights) - 1, 0, -1):
        e.append(_through_relu(torch.bmm(e[-1], weights[i].mT), h[i]))
    return Pass(h, first, e[::-1], z)


def _second_pass(
    network: Network, rho: float, here: Pass, labels: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Go forward and backward at w + s grad; return h' and e' of each layer."""
    h, e = here.h, here.e
    batch, layers = h[0].shape[1], range(len(h))
    written = [_writes_out(i, batch, *network.weights[i].shape[1:]) for i in layers]
    # h^T e where it is written out, else h h^T + 1
    kernels = [
        torch.bmm(h[i].mT, e[i]) if written[i] else torch.bmm(h[i], h[i].mT).add_(1)
        for i in layers
    ]
    norm = _norm(kernels, e, written).div_(batch)
    # s grad W is h^T steep
    scale = norm.add_(EPSILON).reciprocal_().mul_(rho / batch)
    steep = [e[i] * scale for i in layers]
    weights = [
        torch.baddbmm(network.weights[i].mT, steep[i].mT, h[i]).mT
        if written[i]
        else network.weights[i]
        for i in layers
    ]
    h2 = [h[0]]
    for i in layers:
        b = network.biases[i]
        if written[i]:
            z = torch.baddbmm(b + steep[i].sum(1, keepdim=True), h2[i], weights[i])
        elif i == 0:
            z = torch.baddbmm(here.z, kernels[0], steep[0])
        else:
            z = torch.baddbmm(b, h2[i], weights[i])
            z.baddbmm_(torch.bmm(h2[i], h[i].mT).add_(1), steep[i])
        if i < layers[-1]:
            h2.append(z.relu_())
    e2 = [_error(z, labels)]
    for i in layers[:0:-1]:
        back = torch.bmm(e2[-1], weights[i].mT)
        if not written[i]:
            back.baddbmm_(torch.bmm(e2[-1], steep[i].mT), h[i])
        e2.append(_through_relu(back, h2[i]))
    return h2, e2[::-1]


def _adaptive_pass(
    network: Network, optimizer: Optimizer, here: Pass, labels: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Go forward and backward where ASAM ascends to; return h' and e'."""
    terms: list[list[Term]] = [[(1, h, e)] for h, e in zip(here.h, here.e, strict=True)]
    above = ascended(network, optimizer, _written(network, terms))
    there = _first_pass(above, here.h[0], labels, again=False)
    return there.h, there.e


def _writes_out(layer: int, batch: int, inputs: int, outputs: int) -> bool:
    """Tell whether to write a layer's perturbed weights out, the cheaper way or not.

    Counts multiplications; an element of a gradient that is written out costs about
    as much again as `WRITING` of them, because it goes through memory.
    """
    pairs = batch * batch
    if layer == 0:
        implicit = pairs * (inputs + 2 * outputs) - batch * inputs * outputs
    else:
        implicit = 3 * pairs * (inputs + outputs)
    return (2 * batch + WRITING) * inputs * outputs < implicit


def _norm(kernels: list[Tensor], e: list[Tensor], written: list[bool]) -> Tensor:
    """Return the norm of batch * gradient over all layers, of shape (S, 1, 1).

    Where the examples' gradients cancel (a dead network on a balanced batch), their
    products sum to rounding error, even below 0. The sum is kept above that error, or
    the ascent step, which divides by it, would be far longer than rho.
    """
    squares, products = [], []
    for kernel, error, out in zip(kernels, e, written, strict=True):
        if out:
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

    Over the middle axis torch's softmax is vectorised on a CPU: with ten classes it
    takes a third to a tenth of the time that it takes over the last.
    """
    e = logits.mT.softmax(1)
    where = labels.unsqueeze(1)
    return e.scatter_add_(1, where, _minus_one(e.dtype, e.device).expand_as(where)).mT


@functools.cache
def _minus_one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), -1, dtype=dtype, device=device)


def _through_relu(
    e: Float[Tensor, "S n width"], h: Float[Tensor, "S n width"]
) -> Float[Tensor, "S n width"]:
    """Set e to 0 in place where the unit was off, and return it."""
    backward: Any = torch.ops.aten.threshold_backward.grad_input
    backward(e, h, 0, grad_input=e)
    return e


def _update(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    terms: list[list[Term]],
) -> None:
    """Take the step whose gradient is, layer by layer, sum share * h^T e / batch."""
    lr, decay, momentum = optimizer.lr, optimizer.weight_decay, optimizer.momentum
    for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if velocity is None:
            keep = 1 - lr * decay
            _add_products(w, b, keep, -lr, terms[i])
            continue
        v, u = velocity.weights[i], velocity.biases[i]
        _add_products(v, u, momentum, 1, terms[i])
        for tensor, speed in ((w, v), (b, u)):
            if decay:
                speed.add_(tensor, alpha=decay)
            tensor.add_(speed, alpha=-lr)


def _written(network: Network, terms: list[list[Term]]) -> Network:
    """Return the gradient, layer by layer sum share * h^T e / batch."""
    slope = network.zeros_like()
    for w, b, some in zip(slope.weights, slope.biases, terms, strict=True):
        _add_products(w, b, 0, 1, some)
    return slope


def _add_products(
    w: Tensor, b: Tensor, keep: float, rate: float, terms: list[Term]
) -> None:
    """Do w <- keep w + rate sum share * h^T e / batch, and the same for the bias."""
    for share, h, e in terms:
        alpha = rate * share / h.shape[1]
        # on the transpose, which is what lies contiguous in memory (see Network)
        w.mT.baddbmm_(e.mT, h, beta=keep, alpha=alpha)
        if keep != 1:
            b.mul_(keep)
        b.add_(e.sum(1, keepdim=True), alpha=alpha)
        keep = 1
