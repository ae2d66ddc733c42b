"""The input of a landscape probe: the networks, and the loss near their weights.

The Hessian H of the loss is not stored. Only products H v with vectors v are computed
(Pearlmutter 1994, "Fast exact multiplication by the Hessian"). For a perceptron with
ReLUs, `Chain` computes them as matrix products. For other networks, `Hessian` uses
autograd: the loss is summed over the seeds, and the loss of a seed depends only on that
seed's weights, so one backward pass gives the product of every seed. The graph of the
gradient is built once. If the input of a ReLU is exactly 0, H treats the unit as
inactive, as autograd does.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from trainables.networks.network import Network, cross_entropy, forward
from trainables.probes.chain import Chain
from trainables.probes.lanczos import Lanczos
from trainables.probes.snapshot import Snapshot, sum_squares
from trainables.randomness import generator
from trainables.steps import fast
from trainables.steps.reference import Loss, Passes, both_passes, loss_gradient

SAMPLES = 10
"""The number of random vectors for an estimate of the Hessian's trace."""

BATCH = 16
"""The number of examples in a batch for the probes that compare batches.

It does not depend on the batch size of a setting, so that settings can be compared.
"""


class Hessian:
    """The Hessian of each seed's mean loss, as a product with vectors.

    `size` is P, the number of weights and biases of one network.
    """

    def __init__(
        self,
        network: Network,
        inputs: Float[Tensor, "S n inputs"],
        labels: Shaped[Tensor, "S n ..."],
        loss: Loss = cross_entropy,
    ) -> None:
        """Build the graph of the gradient, which `product` uses."""
        leaves = network.leaves()
        self._leaves = leaves.tensors()
        with torch.enable_grad():
            _, logits = forward(leaves, inputs)
            total = loss(logits, labels).mean(1).sum()
            self._gradients = torch.autograd.grad(
                total, self._leaves, create_graph=True
            )
        self._sizes = [leaf[0].numel() for leaf in self._leaves]
        self.size = sum(self._sizes)

    def product(self, vectors: Float[Tensor, "S P"]) -> Float[Tensor, "S P"]:
        """Return H v for each seed, in the network's dtype, where H is the Hessian.

        A vector v has one entry per weight and bias, in the order of `Network.tensors`.
        The entries of a weight matrix have the order of its memory (see `Network`).
        """
        rows = torch.split(vectors, self._sizes, dim=1)
        products = torch.autograd.grad(
            self._gradients,
            self._leaves,
            [
                row.reshape(leaf.mT.shape).mT
                for row, leaf in zip(rows, self._leaves, strict=True)
            ],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([piece.mT.flatten(1) for piece in products], dim=1)


@dataclass(frozen=True, eq=False)
class Landscape:
    """The networks of S seeds with weights w, and their loss L on a fixed batch.

    Attributes:
        network: The networks.
        inputs: The probe examples, of shape (S, n, inputs).
        labels: The labels of the probe examples, of shape (S, n).
        seeds: The seeds of the networks. `seeds` and `task` determine the random
            vectors.
        task: The number of the task, from 0.
    """

    network: Network
    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    task: int

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """The networks before the task, as a `Snapshot` for network probes."""
        network, (gradient, hidden, _) = self.network, self._passes
        return Snapshot(network, hidden, gradient, network, network)

    @property
    def _both_passes(self) -> Passes:
        """The function for the gradient, the hidden layers and the logits."""
        return fast.both_passes if self.network.is_relu_mlp else both_passes

    @functools.cached_property
    def _passes(self) -> tuple[Network, list[Tensor], Tensor]:
        return self._both_passes(self.network, self.inputs, self.labels)

    @functools.cached_property
    def chain(self) -> Chain | None:
        """The loss as a `Chain`, which is faster than autograd, or None.

        It is None if `Network.is_relu_mlp` is false.
        """
        if not self.network.is_relu_mlp:
            return None
        return Chain(self.network, self.inputs, self.labels)

    @functools.cached_property
    def hessian(self) -> Chain | Hessian:
        """The Hessian of the mean loss L at the weights w."""
        return self.chain or Hessian(self.network, self.inputs, self.labels)

    @functools.cached_property
    def lanczos(self) -> Lanczos:
        """The Lanczos method for the Hessian, which starts from normal vectors."""
        vectors = [
            generator("spectrum", seed, self.task).standard_normal(self.hessian.size)
            for seed in self.seeds
        ]
        device, dtype = self.inputs.device, self.inputs.dtype
        start = torch.from_numpy(np.stack(vectors)).to(device, dtype)
        return Lanczos(self.hessian.product, start)

    @functools.cached_property
    def quadratic_forms(self) -> Tensor:
        """z^T H z for each of `SAMPLES` random vectors z with entries +1 or -1.

        H is the Hessian of the loss. The shape is (S, SAMPLES), the dtype float64.
        """
        shape = (SAMPLES, self.hessian.size)
        bits = [
            generator("hutchinson", seed, self.task).integers(2, size=shape)
            for seed in self.seeds
        ]
        signs = torch.from_numpy(2 * np.stack(bits, axis=1) - 1)
        forms = [
            (row.double() * self.hessian.product(row)).sum(dim=1)
            for row in signs.to(self.inputs.device, self.inputs.dtype)
        ]
        return torch.stack(forms, dim=1)

    @functools.cached_property
    def gradient(self) -> Network:
        """The gradient of the mean loss L at the weights w."""
        return self._passes[0]

    @functools.cached_property
    def loss(self) -> Float64[Tensor, " S"]:
        """The mean loss L at the weights w, averaged in float64."""
        return mean_loss(self._passes[2], self.labels)

    def gradient_at(self, network: Network) -> Network:
        """Return the gradient of the mean loss L at the weights of `network`."""
        return self._both_passes(network, self.inputs, self.labels)[0]

    @property
    def batch_size(self) -> int:
        """The size of a batch: `BATCH`, or less if there are fewer than 32 examples.

        Then it is half of the examples, so that there are at least two batches. With
        one example, there is one batch.
        """
        return max(1, min(BATCH, self.labels.shape[1] // 2))

    @property
    def batch_count(self) -> int:
        """The number K of batches. Examples that do not fill a batch are left out."""
        return self.labels.shape[1] // self.batch_size

    @functools.cached_property
    def in_batches(self) -> tuple[Tensor, Tensor]:
        """The inputs and labels of the examples that are in the K batches."""
        count = self.batch_count * self.batch_size
        return self.inputs[:, :count], self.labels[:, :count]

    @functools.cached_property
    def mean_gradient(self) -> Network:
        """The mean of the gradients of the K batches."""
        return self._both_passes(self.network, *self.in_batches)[0]

    @functools.cached_property
    def batch_squares(self) -> Float64[Tensor, "S K"]:
        """The squared norm of the gradient of each of the K batches."""
        if self.chain is not None:
            return self.chain.batch_squares(self.batch_size)
        count = self.batch_count
        # each network K times in a row, once for each of its batches
        network = self.network.map(lambda t: t.repeat_interleave(count, dim=0))
        inputs, labels = (
            tensor.reshape(-1, self.batch_size, *tensor.shape[2:])
            for tensor in self.in_batches
        )
        tensors = sum_squares(loss_gradient(network, inputs, labels)[0]).unbind()
        squares = functools.reduce(operator.add, tensors)  # as in `double_norm`
        return squares.reshape(-1, count)


def mean_loss(logits: Float[Tensor, "S n outputs"], labels: Tensor) -> Tensor:
    """Return the mean loss of each seed on its examples, averaged in float64."""
    return cross_entropy(logits, labels).double().mean(dim=1)
