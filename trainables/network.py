"""A stack of multilayer perceptrons: every tensor has a leading axis of S seeds.

One batched matrix product does S networks at nearly the price of one, and needs no
vmap: with the loss averaged over the batch and summed over the seeds, one backward
pass gives each seed exactly its own gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.randomness import generator


@dataclass
class Network:
    """Weights and biases of S networks, layer by layer.

    In memory a weight lies as (S, outputs, inputs), as torch.nn.Linear has it, and is
    seen through a transposed view: the update, whose rows are then long, takes 20 to
    40% less time on a CPU. Always so, because another layout rounds otherwise.

    Attributes:
        weights: Each of shape (S, inputs, outputs).
        biases: Each of shape (S, 1, outputs).
    """

    weights: list[Tensor]
    biases: list[Tensor]

    def __post_init__(self) -> None:
        """Lay the weights out."""
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
        return Network(
            [change(w) for w in self.weights], [change(b) for b in self.biases]
        )

    def zeros_like(self) -> Network:
        """Return a network of the same shapes, all zero."""
        return self.map(torch.zeros_like)

    def part(self, start: int, stop: int) -> Network:
        """Return the networks from start to before stop, as views."""
        return self.map(lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Network:
        """Return copies of the networks at these positions, in this order."""
        return self.map(lambda tensor: tensor[list(positions)])

    def reorder(self, positions: Sequence[int]) -> None:
        """Permute the networks in place: the i-th becomes what positions[i] was."""
        for tensor in self.tensors():
            tensor.copy_(tensor[list(positions)])

    def take_inputs(self, inputs: Tensor) -> None:
        """Permute the input axis in place: input j becomes what inputs[s, j] was.

        Args:
            inputs: Shape (S, n), int64, a permutation for each seed.
        """
        first = self.weights[0].mT
        first.copy_(first.gather(2, inputs.unsqueeze(1).expand_as(first)))


def initial(
    sizes: Sequence[int],
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Network:
    """Return networks with Kaiming-uniform weights and zero biases.

    U(-b, b) with b = gain sqrt(3 / fan_in), gain sqrt(2) before a ReLU and 1 at the
    output (He et al. 2015, arXiv 1502.01852), as Dohare et al. 2023 start theirs.

    Args:
        sizes: Widths from the inputs to the outputs.
        seeds: A network is drawn from each.
        device: Where the tensors lie.
        dtype: Of the tensors; float32 weights are the float64 ones, rounded.
    """
    layers = list(itertools.pairwise(sizes))
    drawn = []
    for seed in seeds:
        random = generator("weights", seed)
        bounds = [math.sqrt((3 if o is layers[-1] else 6) / o[0]) for o in layers]
        drawn.append(
            [random.uniform(-b, b, o) for b, o in zip(bounds, layers, strict=True)]
        )
    weights = [
        torch.stack([torch.from_numpy(w) for w in layer]).to(device, dtype)
        for layer in zip(*drawn, strict=True)
    ]
    biases = [
        torch.zeros(len(seeds), 1, o, device=device, dtype=dtype) for _, o in layers
    ]
    return Network(weights, biases)


def forward(
    network: Network, inputs: Float[Tensor, "S n inputs"]
) -> tuple[list[Tensor], Float[Tensor, "S n outputs"]]:
    """Return the input of each layer, of shape (S, n, width), and the logits."""
    layer_inputs = [inputs]
    last = len(network.weights) - 1
    for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        z = torch.baddbmm(b, layer_inputs[-1], w)
        if i == last:
            break
        layer_inputs.append(z.relu())
    return layer_inputs, z


def cross_entropy(
    logits: Float[Tensor, "*batch outputs"], labels: Tensor
) -> Float[Tensor, "*batch"]:
    """Return the loss of each example, in nats."""
    picked = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - picked
