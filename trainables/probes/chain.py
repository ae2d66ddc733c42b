"""Derivatives of the cross-entropy of dense layers with ReLUs, from matrix products.

Let z = h W + b be a layer. The rows h and z are the input and the output of the layer
for one example, and e = dL/dz, where L is the cross-entropy of the example. Let R{x} be
the derivative of x if the weights and biases change along V and c (Pearlmutter 1994,
"Fast exact multiplication by the Hessian"). Then

    forward pass     R{z} = R{h} W + h V + c;  R{h} of the first layer is 0;  R{h} of a
                     later layer is R{z} of the layer before, where the ReLU in between
                     is active, else 0
    last layer       R{e} = R{z} A, where A = diag(p) - p^T p and p = softmax(z)
    backward pass    R{e} of a layer is R{e} W^T + e V^T of the layer after, where the
                     ReLU in between is active, else 0
    product H v      R{h}^T e + h^T R{e} for the weights, and R{e} for the biases
    v^T H v          R{z} A R{z}^T of the last layer, plus the sum of 2 R{h} V e^T over
                     the layers

Between two kinks of the ReLUs, each logit is an affine function of the weights and
biases of any one layer, so the diagonal of the logit's Hessian is 0. The trace of H is
therefore the trace of J^T A J, where J is the Jacobian of the logits. A is the sum of
p_k (i_k - p)^T (i_k - p) over the classes k, where i_k is the one-hot row of the class.
So the trace is the sum of p_k ||(i_k - p) J||^2 over the classes. Each class takes one
backward pass, which sends a row e to each layer, and the layer adds (||h||^2 + 1)
||e||^2 to the squared norm.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from trainables.networks.network import Network
from trainables.steps.fast import base_pass, through_relu


class Chain:
    """The cross-entropy of S networks on n examples each, with its derivatives.

    The derivatives are those at the weights of the networks. `size` is P, the number of
    weights and biases of one network.
    """

    def __init__(
        self,
        network: Network,
        inputs: Float[Tensor, "S n inputs"],
        labels: Int[Tensor, "S n"],
    ) -> None:
        """Do a forward and a backward pass. `network.is_relu_mlp` must be true."""
        self._network = network
        self._h, _, self._e, logits = base_pass(network, inputs, labels, keep_z=False)
        self._p = logits.softmax(dim=2)
        self._sizes = [tensor[0].numel() for tensor in network.tensors()]
        self.size = sum(self._sizes)

    def product(self, vectors: Float[Tensor, "S P"]) -> Float[Tensor, "S P"]:
        """Return H v for each seed, where H is the Hessian of the mean loss.

        See `trainables.probes.landscape.Hessian.product` for the order of the entries.
        """
        h, e, weights = self._h, self._e, self._network.weights
        rows = torch.split(vectors, self._sizes, dim=1)
        pieces = zip(rows, self._network.tensors(), strict=True)
        direction = self._network.like([v.view(t.mT.shape).mT for v, t in pieces])
        tangents, last = self._forward(direction)
        errors = [self._last_errors(last)]
        for i in range(len(h) - 1, 0, -1):
            back = torch.bmm(errors[0], weights[i].mT)
            back.baddbmm_(e[i], direction.weights[i].mT)
            errors.insert(0, through_relu(back, h[i]))
        products = [torch.bmm(error.mT, x) for error, x in zip(errors, h, strict=True)]
        for i in range(1, len(h)):
            products[i].baddbmm_(e[i].mT, tangents[i - 1])
        products += [error.sum(dim=1) for error in errors]
        sums = torch.cat([piece.flatten(1) for piece in products], dim=1)
        return sums.div_(h[0].shape[1])

    def curvatures(self, direction: Network) -> Float[Tensor, "S n"]:
        """Return u^T H u for each seed and example, where u is `direction`.

        H is the Hessian of the loss of the example.
        """
        tangents, last = self._forward(direction)
        total = (last * self._last_errors(last)).sum(dim=2)
        for i in range(1, len(self._h)):
            change = torch.bmm(tangents[i - 1], direction.weights[i])
            total += 2 * (change * self._e[i]).sum(dim=2)
        return total

    def trace(self) -> Float64[Tensor, " S"]:
        """Return the trace of the Hessian of the mean loss, without an estimate."""
        seeds, examples, classes = self._p.shape
        rows = torch.eye(classes).to(self._p) - self._p[:, :, None]
        rows = (self._p.sqrt()[..., None] * rows).reshape(seeds, -1, classes)
        total = torch.zeros(seeds, dtype=torch.float64, device=rows.device)
        for i in range(len(self._h) - 1, -1, -1):
            h = self._h[i]
            squares = rows.square().sum(dim=2).reshape(seeds, examples, classes).sum(2)
            total += ((h.square().sum(dim=2) + 1) * squares).double().mean(dim=1)
            if i:
                active = (h > 0).repeat_interleave(classes, dim=1)
                rows = torch.bmm(rows, self._network.weights[i].mT).mul_(active)
        return total

    def batch_squares(self, size: int) -> Float64[Tensor, "S K"]:
        """Return the squared gradient norm of each batch of `size` examples.

        The gradient is that of the batch's mean loss. Examples that do not fill a batch
        are left out. The square is the sum of (h h^T + 1) * (e e^T) over the layers and
        the pairs of examples, divided by size^2. It needs no stored gradient. It is
        computed in float64, so that it does not overflow.
        """
        seeds, count = len(self._p), self._p.shape[1] // size

        def pairs(rows: Tensor) -> Tensor:
            batches = rows[:, : count * size].reshape(seeds * count, size, -1).double()
            return torch.bmm(batches, batches.mT)

        total = torch.zeros(seeds * count, dtype=torch.float64, device=self._p.device)
        for h, e in zip(self._h, self._e, strict=True):
            total += (pairs(h).add_(1) * pairs(e)).sum(dim=(1, 2))
        return (total / size**2).clamp_(min=0).reshape(seeds, count)

    def _forward(self, direction: Network) -> tuple[list[Tensor], Tensor]:
        """Return R{h} of each layer after the first, and R{z} of the last layer."""
        h, weights, tangents = self._h, self._network.weights, []
        z = torch.baddbmm(direction.biases[0], h[0], direction.weights[0])
        for i in range(1, len(h)):
            tangents.append(through_relu(z, h[i]))
            z = torch.baddbmm(direction.biases[i], h[i], direction.weights[i])
            z.baddbmm_(tangents[-1], weights[i])
        return tangents, z

    def _last_errors(self, last: Tensor) -> Tensor:
        """Return R{e} of the last layer, where `last` is R{z}."""
        product = self._p * last
        return product - self._p * product.sum(dim=2, keepdim=True)
