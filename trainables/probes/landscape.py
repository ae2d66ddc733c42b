"""The input of a landscape probe: the networks, and the loss around their weights.

The loss is summed over the seeds, and the loss of a seed depends only on that seed's
weights. One product with one vector per seed therefore gives each seed's H v
(Pearlmutter 1994, "Fast exact multiplication by the Hessian"). The graph of the
gradient is built once; each product is then one backward pass through this graph. If
the input of a ReLU is exactly 0, H treats the unit as inactive, as autograd does.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.network import Network, cross_entropy, forward
from trainables.probes.snapshot import Snapshot
from trainables.randomness import generator
from trainables.steps.reference import loss_gradient

SAMPLES = 10
"""The number of random vectors that estimate the trace."""


class Hessian:
    """The Hessian of each seed's mean loss in all P weights and biases of a network.

    It covers every network that `trainables.network.forward` computes. `size` is P.
    """

    def __init__(
        self,
        network: Network,
        inputs: Float[Tensor, "S n inputs"],
        labels: Int[Tensor, "S n"],
    ) -> None:
        """Build the graph of the gradient."""
        leaves = network.map(lambda tensor: tensor.detach().requires_grad_())
        self._leaves = leaves.tensors()
        with torch.enable_grad():
            _, logits = forward(leaves, inputs)
            loss = cross_entropy(logits, labels).mean(1).sum()
            self._gradients = torch.autograd.grad(loss, self._leaves, create_graph=True)
        self._sizes = [leaf[0].numel() for leaf in self._leaves]
        self.size = sum(self._sizes)

    def product(self, vectors: Float[Tensor, "S P"]) -> Float[Tensor, "S P"]:
        """Return H v of each seed, in the network's dtype.

        A vector is the concatenation of the tensors of `Network.tensors`, each
        transposed to its layout in memory.
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
    """S networks with weights w, and their loss L on a fixed batch.

    Attributes:
        network: The networks.
        inputs: The probe examples, of shape (S, n, inputs).
        labels: The labels of the probe examples, of shape (S, n).
        seeds: The seeds of the networks. `seeds` and `task` fix the random vectors.
        task: The number of the task, from 0.
    """

    network: Network
    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    task: int

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """The input of network probes before a task."""
        layers, _ = forward(self.network, self.inputs)
        network = self.network
        return Snapshot(network, layers[1:], self.gradient, network, network)

    @functools.cached_property
    def hessian(self) -> Hessian:
        """The Hessian of L at w."""
        return Hessian(self.network, self.inputs, self.labels)

    @functools.cached_property
    def quadratic_forms(self) -> Tensor:
        """z^T H z for `SAMPLES` random sign vectors z: shape (S, SAMPLES), float64."""
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
        """The gradient of L at w."""
        return self.gradient_at(self.network)

    def gradient_at(self, network: Network) -> Network:
        """Return the gradient of L at the weights of `network`."""
        return loss_gradient(network, self.inputs, self.labels)[0]
