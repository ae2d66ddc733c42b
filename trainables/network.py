"""A stack of multilayer perceptrons: every tensor has a leading axis of S seeds.

One batched matrix product serves S networks at nearly the price of one, without vmap.
The loss is averaged over the batch and summed over the seeds, so one backward pass
gives each seed exactly its own gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainables.randomness import generator


@dataclass
class Network:
    """Weights and biases of S networks, layer by layer.

    A weight is stored as (S, outputs, inputs), as in torch.nn.Linear, and seen through
    a transposed view. Its rows are then long, and the update takes 20 to 40% less time
    on a CPU. The layout is fixed, because another one rounds differently.

    `normalized`: hidden layers are normalized before their ReLU, see
    `trainables.interventions.layer_norm`.
    """

    weights: list[Tensor]  # each (S, inputs, outputs)
    biases: list[Tensor]  # each (S, 1, outputs)
    normalized: bool = False

    def __post_init__(self) -> None:
        self.weights = [
            w if w.mT.is_contiguous() else w.mT.contiguous().mT for w in self.weights
        ]

    @property
    def seeds(self) -> int:
        """The number S of networks."""
        return self.weights[0].shape[0]

    def tensors(self) -> list[Tensor]:
        """Return all weights, then all biases."""
        return [*self.weights, *self.biases]

    def map(self, change: Callable[[Tensor], Tensor]) -> Network:
        """Return the network of the changed tensors."""
        return self.like([change(tensor) for tensor in self.tensors()])

    def like(self, tensors: Sequence[Tensor]) -> Network:
        """Return a network like this one with other tensors, ordered as `tensors`."""
        layers = len(self.weights)
        return Network(list(tensors[:layers]), list(tensors[layers:]), self.normalized)

    def zeros_like(self) -> Network:
        """Return a network of the same shapes, all zero."""
        return self.map(torch.zeros_like)

    def part(self, start: int, stop: int) -> Network:
        """Return the networks from start to before stop, as views."""
        return self.map(lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Network:
        """Return copies of the networks at these positions, in this order."""
        return self.map(lambda tensor: tensor[list(positions)])

    def permute_inputs(self, orders: Tensor) -> None:
        """Permute the input axis in place: input j becomes what orders[s, j] was.

        `orders` has a permutation for each seed: shape (S, n), int64.
        """
        first = self.weights[0].mT
        index = orders.to(first.device).unsqueeze(1).expand_as(first)
        first.copy_(first.gather(2, index))


def initial_network(
    sizes: Sequence[int],
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    normalized: bool = False,
) -> Network:
    """Return networks with Kaiming-uniform weights and zero biases.

    So do Dohare et al. 2023 (arXiv 2306.13812); see `kaiming_bound`. `sizes` are the
    widths from the inputs to the outputs. float32 weights are rounded float64 ones.
    """
    random = [generator("weights", seed) for seed in seeds]
    weights, biases = [], []
    for layer, shape in enumerate(itertools.pairwise(sizes)):
        bound = kaiming_bound(shape[0], output=layer == len(sizes) - 2)
        drawn = np.stack([r.uniform(-bound, bound, shape) for r in random])
        weights.append(torch.from_numpy(drawn).to(device, dtype))
        biases.append(torch.zeros(len(seeds), 1, shape[1], device=device, dtype=dtype))
    return Network(weights, biases, normalized)


def kaiming_bound(fan_in: int, *, output: bool) -> float:
    """Return the bound b of U(-b, b), the distribution of a layer's initial weights.

    b = gain sqrt(3 / fan_in), gain sqrt(2) before a ReLU and 1 at the output (He et
    al. 2015, arXiv 1502.01852).
    """
    return math.sqrt((3 if output else 6) / fan_in)


def forward(
    network: Network, inputs: Float[Tensor, "S n inputs"]
) -> tuple[list[Tensor], Float[Tensor, "S n outputs"]]:
    """Return the input of each layer, of shape (S, n, width), and the logits."""
    layer_inputs, last = [inputs], len(network.weights) - 1
    for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if network.normalized and i < last:
            z = torch.bmm(layer_inputs[-1], w)
            # (z - mean) / sqrt(var + 1e-5) over the units
            z = torch.nn.functional.layer_norm(z, z.shape[-1:]) + b
        else:
            z = torch.baddbmm(b, layer_inputs[-1], w)
        if i < last:
            layer_inputs.append(z.relu())
    return layer_inputs, z


def cross_entropy(
    logits: Float[Tensor, "*batch outputs"], labels: Tensor
) -> Float[Tensor, "*batch"]:
    """Return the loss of each example, in nats."""
    correct = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - correct
