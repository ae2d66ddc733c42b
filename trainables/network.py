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
        normalized: Whether hidden layers are normalized before their ReLU (see
            `trainables.interventions.layer_norm`).
    """

    weights: list[Tensor]
    biases: list[Tensor]
    normalized: bool = False

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
        return self.like([change(tensor) for tensor in self.tensors()])

    def like(self, tensors: Sequence[Tensor]) -> Network:
        """Return a network like this one of other weights, and then biases."""
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
    *,
    normalized: bool = False,
) -> Network:
    """Return networks with Kaiming-uniform weights and zero biases.

    As Dohare et al. 2023 (arXiv 2306.13812) start theirs; see `kaiming_bound`.

    Args:
        sizes: Widths from the inputs to the outputs.
        seeds: A network is drawn from each.
        device: Where the tensors lie.
        dtype: Of the tensors; float32 weights are the float64 ones, rounded.
        normalized: See `Network`.
    """
    layers = list(itertools.pairwise(sizes))
    drawn = []
    for seed in seeds:
        random = generator("weights", seed)
        bounds = [kaiming_bound(o[0], output=o is layers[-1]) for o in layers]
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
    return Network(weights, biases, normalized)


def kaiming_bound(fan_in: int, *, output: bool) -> float:
    """Return the b of U(-b, b) from which a layer's weights are drawn.

    b = gain sqrt(3 / fan_in), gain sqrt(2) before a ReLU and 1 at the output (He et
    al. 2015, arXiv 1502.01852).
    """
    return math.sqrt((3 if output else 6) / fan_in)


def forward(
    network: Network, inputs: Float[Tensor, "S n inputs"]
) -> tuple[list[Tensor], Float[Tensor, "S n outputs"]]:
    """Return the input of each layer, of shape (S, n, width), and the logits."""
    layer_inputs = [inputs]
    last = len(network.weights) - 1
    for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        if network.normalized and i < last:
            z = _normalize(torch.bmm(layer_inputs[-1], w)) + b
        else:
            z = torch.baddbmm(b, layer_inputs[-1], w)
        if i == last:
            break
        layer_inputs.append(z.relu())
    return layer_inputs, z


def _normalize(a: Float[Tensor, "S n width"]) -> Float[Tensor, "S n width"]:
    """Return (a - mean) / sqrt(var + 1e-5) over the units, as torch's layer norm."""
    return torch.nn.functional.layer_norm(a, a.shape[-1:])


def cross_entropy(
    logits: Float[Tensor, "*batch outputs"], labels: Tensor
) -> Float[Tensor, "*batch"]:
    """Return the loss of each example, in nats."""
    picked = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - picked
