"""The networks of S seeds: the first axis of every tensor has length S.

One batched matrix product for S networks takes little more time than the product for
one network. The loss is averaged over the batch and summed over the seeds. One backward
pass therefore gives exactly the gradient of each seed's own loss.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainables.networks.activations import ACTIVATIONS
from trainables.networks.architecture import Architecture, Layer, initial_bound
from trainables.networks.mlp import MLP
from trainables.problems import MNIST, Form
from trainables.randomness import generator


@dataclass
class Network:
    """The weights and biases of S networks (one per seed), layer by layer.

    The memory of each weight tensor has the layout (S, outputs, inputs), as in
    torch.nn.Linear. `weights` are transposed views of this memory. On a CPU, an update
    takes 20 to 40% less time than with the layout (S, inputs, outputs), because the
    stored rows are longer. All networks must use the same layout, because rounding
    errors depend on the layout.

    If an activation has two outputs per unit, the next layer has twice as many inputs
    as there are units. `statistics` has the running mean and variance of each layer
    that is normalized over the batch. `mode` says what such a layer uses and changes:

        test    the running statistics: examples do not depend on each other
        climb   the mean and the variance of the batch
        learn   as in climb, and the running statistics move towards the batch's
    """

    weights: list[Tensor]  # each (S, inputs, outputs)
    biases: list[Tensor]  # each (S, 1, outputs)
    normalized: bool = False  # whether `LayerNorm` normalizes the hidden layers
    activation: str | None = None  # a key of `ACTIVATIONS`, or None for the ReLU
    initialization: str | None = None  # of new weights: see `initial_bound`
    kind: Architecture | None = None  # None: a multilayer perceptron
    form: Form = MNIST  # of the images; a multilayer perceptron ignores it
    statistics: list[Tensor] = field(default_factory=list)  # each (S, 2, units)
    mode: Literal["test", "climb", "learn"] = "test"
    outputs: int | None = None  # if given, only the first `outputs` logits are used

    def __post_init__(self) -> None:
        self.weights = [
            w if w.mT.is_contiguous() else w.mT.contiguous().mT for w in self.weights
        ]

    @property
    def seeds(self) -> int:
        """The number S of seeds, each of which has one network."""
        return self.weights[0].shape[0]

    @property
    def is_relu_mlp(self) -> bool:
        """Whether this is a perceptron with ReLUs that uses all its logits.

        Nothing is normalized in such a network.
        `trainables.steps.fast` and `trainables.probes.chain` need such a network.
        """
        options = self.normalized, self.activation, self.kind, self.outputs
        return options == (False, None, None, None)

    def tensors(self) -> list[Tensor]:
        """Return the weights of all layers, then the biases of all layers."""
        return [*self.weights, *self.biases]

    def map(self, change: Callable[[Tensor], Tensor]) -> Network:
        """Apply `change` to each tensor and to the statistics; return the results."""
        changed = self.like([change(tensor) for tensor in self.tensors()])
        changed.statistics = [change(tensor) for tensor in self.statistics]
        return changed

    def like(self, tensors: Sequence[Tensor]) -> Network:
        """Return a network with these tensors, in the order of `Network.tensors`.

        The new network shares the statistics of this network.
        """
        layers = len(self.weights)
        weights, biases = list(tensors[:layers]), list(tensors[layers:])
        return replace(self, weights=weights, biases=biases)

    def leaves(self) -> Network:
        """Return the same network as leaves of autograd, which can have gradients."""
        return self.like([t.detach().requires_grad_() for t in self.tensors()])

    def in_mode(self, mode: Literal["test", "climb", "learn"]) -> Network:
        """Return the same network in another mode (no copy)."""
        return replace(self, mode=mode)

    @property
    def heads(self) -> range:
        """The positions of the output layers (see `Architecture.heads`)."""
        return (self.kind or MLP()).head_positions(len(self.weights))

    @property
    def layers(self) -> list[Layer]:
        """The sizes of all layers. Plain networks set only `inputs` and `units`."""
        if self.kind is None or self.kind.is_plain:
            return [Layer(*w.shape[1:]) for w in self.weights]
        dense = [b.shape[2] for b in self.biases[self.kind.front :]]
        return self.kind.layers(self.form, dense)

    def zeros_like(self) -> Network:
        """Return a network with the same shapes, in which all numbers are 0."""
        return self.map(torch.zeros_like)

    def part(self, start: int, stop: int) -> Network:
        """Return the networks at positions start to stop - 1, as views (no copy)."""
        return self.map(lambda tensor: tensor[start:stop])

    def take(self, positions: Sequence[int]) -> Network:
        """Return copies of the networks at `positions`, in this order."""
        return self.map(lambda tensor: tensor[list(positions)])

    def _combine(
        self, other: Network, operation: Callable[[Tensor, Tensor], Tensor]
    ) -> Network:
        pairs = zip(self.tensors(), other.tensors(), strict=True)
        return self.like([operation(a, b) for a, b in pairs])

    def __add__(self, other: Network) -> Network:
        return self._combine(other, operator.add)

    def __sub__(self, other: Network) -> Network:
        return self._combine(other, operator.sub)

    def __mul__(self, factor: float | Tensor) -> Network:
        """Return the networks times `factor`. A tensor has the shape (S, 1, 1)."""
        return self.like([factor * tensor for tensor in self.tensors()])

    def __rmul__(self, factor: float) -> Network:
        return self * factor

    def dot(self, other: Network) -> Float[Tensor, "S 1 1"]:
        """Return each seed's inner product with `other`, over weights and biases."""
        pairs = zip(self.tensors(), other.tensors(), strict=True)
        products = [(a * b).sum((1, 2), keepdim=True) for a, b in pairs]
        # one after the other, because the order of torch's sum depends on S
        return functools.reduce(operator.add, products)

    def norm(self) -> Float[Tensor, "S 1 1"]:
        """Return each seed's L2 norm of all weights and biases."""
        return self.dot(self).sqrt()

    def lerp_(self, other: Network, share: Tensor) -> None:
        """Interpolate linearly towards `other`, in place: w += share * (other - w).

        `share` has the shape (S, 1, 1), with one number in [0, 1] for each seed. If it
        is 1, the numbers become exactly equal to the numbers of `other`.
        """
        for tensor, target in zip(self.tensors(), other.tensors(), strict=True):
            tensor.lerp_(target, share)

    def forget_batches(self) -> None:
        """Set the running statistics to mean 0 and variance 1, as in a new network."""
        for statistics in self.statistics:
            statistics[:, 0], statistics[:, 1] = 0, 1

    def permute_inputs(self, orders: Tensor) -> None:
        """Permute the inputs of the first layer in place.

        `orders` has one permutation of the n inputs for each of the S networks: shape
        (S, n), int64. In network s, the weights of input orders[s, j] move to input j.
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
    initialization: str | None = None,
    activation: str | None = None,
    kind: Architecture | None = None,
    form: Form | None = None,
) -> Network:
    """Draw a new network for each seed.

    `sizes` has the number of inputs and then the widths of all dense layers. The
    arguments after `dtype` are those of `Network`.

    If `initialization` is None, the weights are Kaiming uniform and the biases are
    zero, as in Dohare et al. 2023 (arXiv 2306.13812): see `initial_bound`. The numbers
    are drawn in float64 and then rounded to `dtype`.
    """
    outputs = 1 if activation is None else ACTIVATIONS[activation].outputs
    form, architecture = form or Form(1, sizes[0], 1, sizes[-1]), kind or MLP()
    layers = architecture.layers(form, sizes[1:], outputs)
    heads = architecture.head_positions(len(layers))
    drawn = [
        _draw(layers, heads, initialization, generator("weights", s)) for s in seeds
    ]
    tensors = [
        torch.from_numpy(np.stack(arrays)).to(device, dtype)
        for arrays in zip(*drawn, strict=True)
    ]
    weights, biases = tensors[: len(layers)], tensors[len(layers) :]
    statistics = [
        weights[0].new_empty(len(seeds), 2, units)
        for units in architecture.statistics(form)
    ]
    options = normalized, activation, initialization, kind, form, statistics
    network = Network(weights, biases, *options)
    network.forget_batches()
    return network


def draw_initial(network: Network, random: np.random.Generator) -> list[Tensor]:
    """Draw initial weights and biases of one network of the same shape as `network`.

    The result has the order of `Network.tensors`, without the axis of the seeds.
    """
    arrays = _draw(network.layers, network.heads, network.initialization, random)
    return [network.weights[0].new_tensor(array) for array in arrays]


def _draw(
    layers: Sequence[Layer],
    heads: range,
    initialization: str | None,
    random: np.random.Generator,
) -> list[np.ndarray]:
    """Return initial weights of all layers, then initial biases of all layers.

    The numbers are drawn layer by layer. Gains are 1. If a layer has gains or a bound
    of its own, its biases are 0.
    """
    weights, biases = [], []
    for number, layer in enumerate(layers):
        fan_in, width, bound = layer.inputs - layer.gain, layer.units, layer.bound
        if bound is None:
            is_head = number in heads
            bound = initial_bound(max(1, fan_in), initialization, output=is_head)
        weight = random.uniform(-bound, bound, (fan_in, width))
        bias = np.zeros((1, width))
        if layer.gain:
            weight = np.concatenate([weight, np.ones((1, width))])
        elif layer.bound is None and initialization is not None:
            bias = random.uniform(-bound, bound, (1, width))
        weights.append(weight)
        biases.append(bias)
    return weights + biases


def initial_bounds(network: Network) -> list[float]:
    """Return the bound of the initial numbers in each of `network.tensors()`."""
    bounds = [
        initial_bound(w.shape[1], network.initialization, output=i in network.heads)
        for i, w in enumerate(network.weights)
    ]
    return bounds + [0.0 if network.initialization is None else b for b in bounds]


def forward(
    network: Network, inputs: Float[Tensor, "S n inputs"]
) -> tuple[list[Tensor], Float[Tensor, "S n outputs"]]:
    """Return the inputs, the outputs of each hidden layer, and the logits.

    The outputs of a layer have the shape (S, n, width), for S networks and n examples.
    See `Architecture.forward` for layers that are not dense.
    """
    if network.kind is not None:
        layers, logits = network.kind.forward(network, inputs)
    else:
        hidden, logits = dense_forward(network, inputs)
        layers = [inputs, *hidden]
    return layers, logits[..., : network.outputs]


def dense_forward(
    network: Network, inputs: Float[Tensor, "S n inputs"], first: int = 0
) -> tuple[list[Tensor], Float[Tensor, "S n outputs"]]:
    """Return the outputs of hidden layers `first` and later, and then the logits.

    `inputs` are the inputs of layer `first`, the first layer that is computed.
    """
    layer_inputs, last = [inputs], len(network.weights) - 1
    activate: Callable[[Tensor], Tensor] = torch.relu
    if network.activation is not None:
        activate = ACTIVATIONS[network.activation].function
    for i in range(first, last + 1):
        w, b = network.weights[i], network.biases[i]
        if network.normalized and i < last:
            z = torch.bmm(layer_inputs[-1], w)
            # (z - mean) / sqrt(var + 1e-5), with mean and variance over the units
            z = torch.nn.functional.layer_norm(z, z.shape[-1:]) + b
        else:
            z = torch.baddbmm(b, layer_inputs[-1], w)
        if i < last:
            layer_inputs.append(activate(z))
    return layer_inputs[1:], z


def cross_entropy(
    logits: Float[Tensor, "*batch outputs"], labels: Tensor
) -> Float[Tensor, "*batch"]:
    """Return the cross-entropy loss of each example, in nats."""
    correct = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - correct
