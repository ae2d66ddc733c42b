"""What a landscape probe sees: the networks, and the loss around their weights.

The loss is summed over the seeds, none of which has a part in another's: one product
with a vector a seed gives each seed its own H v (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"). The graph of the gradient is made once; each product
is then one backward pass through it. Where a ReLU is at its kink, H is that of the side
where it is off, as for autograd.
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
"""Random vectors that estimate the trace."""


class Hessian:
    """The Hessian of each seed's mean loss, in all P weights and biases of a network.

    It works for whatever `trainables.network.forward` computes. `size` is P.
    """

    def __init__(
        self,
        network: Network,
        inputs: Float[Tensor, "S n inputs"],
        labels: Int[Tensor, "S n"],
    ) -> None:
        """Make the graph of the gradient."""
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

        A vector has the tensors of `Network.tensors` one after the other, each
        transposed, as weights lie in memory.
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
    """S networks w, and the loss L around them on a fixed batch.

    Attributes:
        network: The networks.
        inputs: The probe examples, of shape (S, n, inputs).
        labels: Their labels, of shape (S, n).
        seeds: Of the networks; with `task` they fix the random vectors.
        task: Its number.
    """

    network: Network
    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    task: int

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """The networks as probes of the network see them, before a task."""
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
        """Return the gradient of L at a network."""
        return loss_gradient(network, self.inputs, self.labels)[0]
