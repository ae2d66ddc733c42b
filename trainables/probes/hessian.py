"""Products of the Hessian with vectors, of all seeds at once.

The loss is summed over the seeds, none of which has a part in another's: one product
with a vector a seed gives each seed its own H v (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"). The graph of the gradient is made once; each product
is then one backward pass through it. Where a ReLU is at its kink H is, as for autograd,
that of the side where it is off.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.network import Network, cross_entropy, forward


class Hessian:
    """The Hessian of each seed's mean loss, in all P weights and biases of a network.

    It works for whatever `trainables.network.forward` computes.

    Attributes:
        size: P, the length of a vector.
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
        self.size = sum(leaf[0].numel() for leaf in self._leaves)

    def product(self, vectors: Float[Tensor, "S P"]) -> Float[Tensor, "S P"]:
        """Return H v of each seed, in the network's dtype.

        A vector has the tensors of `Network.tensors` one after the other, each
        transposed, as weights lie in memory.
        """
        sizes = [leaf[0].numel() for leaf in self._leaves]
        rows = torch.split(vectors, sizes, dim=1)
        pieces = [
            row.reshape(leaf.mT.shape).mT
            for row, leaf in zip(rows, self._leaves, strict=True)
        ]
        products = torch.autograd.grad(
            self._gradients,
            self._leaves,
            pieces,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return torch.cat([piece.mT.flatten(1) for piece in products], dim=1)
