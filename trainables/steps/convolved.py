"""Steps of convolutional networks on a CPU, whose layers are computed in C.

One C function computes a convolution, the maximum over squares and the ReLU together,
and another one does their backward pass (`c/convolution.c`). A dense layer is a
convolution of an image that has one position. The optimizer's arithmetic is as in the
reference engine.

The C code reads images in lines of 64 bytes. A line has one number of each of 16
examples in float32, or of each of 8 examples in float64: for example, the same pixel of
16 images. A line that is not full takes as long as a full line.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.networks.conv import Conv, Convolution
from trainables.networks.network import Network
from trainables.networks.stack import Memory
from trainables.optimizers import Optimizer, Surface
from trainables.steps import extension
from trainables.steps.fast import error
from trainables.steps.reference import Slope, slope_on

LINE_BYTES = 64
"""The size of a line, as in `c/convolution.c`."""


class Convolved(NamedTuple):
    """The forward pass of a layer, with the arrays that its backward pass needs."""

    sizes: extension.Convolution
    images: Tensor  # (S, panels, positions, channels, examples of a line)
    outputs: Tensor  # after the maximum and the ReLU, as `images`
    places: Tensor  # the position of each maximum in its square, as `outputs`


def supports(network: Network) -> bool:
    """Return whether C computes the convolutions of these networks."""
    return (
        type(network.kind) is Conv  # a subclass can have another forward pass
        and network.weights[0].device.type == "cpu"
        and network.activation is None
        and not network.normalized
    )


def gradient(
    network: Network,
    memory: Memory,
    optimizer: Optimizer,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> Slope:
    """Return the optimizer's gradient for each seed, and the logits at the weights w.

    `trainables.steps.reference.gradient` has these arguments, and `gradient_of` too.
    """
    of = functools.partial(loss_gradient, inputs=inputs, labels=labels)
    return slope_on(Surface(network, of), optimizer, memory)


def loss_gradient(
    network: Network,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, Float[Tensor, "S n outputs"]]:
    """Return the gradient of each seed's mean loss on its batch, and the logits."""
    layers, logits = _forward(network, inputs, keep=True)
    return _gradient(network, layers, logits, labels), logits


def both_passes(
    network: Network,
    inputs: Float[Tensor, "S n inputs"],
    labels: Int[Tensor, "S n"],
) -> tuple[Network, list[Tensor], Float[Tensor, "S n outputs"]]:
    """Do a forward and a backward pass, for each seed on its batch.

    `trainables.steps.reference.both_passes` has the same arguments and results. The
    outputs of the hidden layers have the shapes of `Architecture.forward`.
    """
    layers, logits = _forward(network, inputs, keep=True)
    hidden = []
    for layer in layers[:-1]:
        rows = layer.outputs.mT.flatten(1, 2)[:, : inputs.shape[1]]
        hidden.append(rows.reshape(len(rows), -1, layer.sizes.units))
    return _gradient(network, layers, logits, labels), hidden, logits


def _gradient(
    network: Network, layers: list[Convolved], logits: Tensor, labels: Tensor
) -> Network:
    """Do the backward pass; return the gradient of each seed's mean loss."""
    errors = _to_panels(error(logits, labels).div_(labels.shape[1]))
    slopes: list[tuple[Tensor, Tensor]] = []
    for layer, weights in zip(layers[::-1], network.weights[::-1], strict=True):
        is_first = len(slopes) == len(layers) - 1
        w, b, errors = _go_back(layer, weights, errors, is_first)
        slopes.insert(0, (w, b))
    weight_slopes, bias_slopes = zip(*slopes, strict=True)
    return network.like([*weight_slopes, *bias_slopes])


def forward_logits(
    network: Network, inputs: Float[Tensor, "S n inputs"]
) -> Float[Tensor, "S n outputs"]:
    """Return the logits of each network on its inputs."""
    return _forward(network, inputs, keep=False)[1]


def _forward(
    network: Network, inputs: Tensor, keep: bool
) -> tuple[list[Convolved], Tensor]:
    """Return the layers on these inputs (none if `keep` is false), and the logits."""
    images = _to_panels(inputs)
    integers = torch.int32 if images.dtype == torch.float32 else torch.int64
    layers: list[Convolved] = []
    sizes = _sizes(network)
    for size, w, b in zip(sizes, network.weights, network.biases, strict=True):
        is_linear = w is network.weights[-1]
        layer = extension.Convolution(*images.shape[:2], *size, is_linear)
        numbers = math.prod(size.pooled) * size.units
        outputs = images.new_empty(*images.shape[:2], numbers, images.shape[3])
        places = torch.empty(outputs.shape if keep else 0, dtype=integers)
        arrays = [images, w.mT, b, outputs]
        scratch = _scratch(layer, images)
        _library(images).convolve(
            layer,
            *(array.data_ptr() for array in arrays),
            places.data_ptr() if keep else None,
            scratch.data_ptr(),
        )
        if keep:
            layers.append(Convolved(layer, images, outputs, places))
        images = outputs
    return layers, images.mT.flatten(1, 2)[:, : inputs.shape[1]]


def _sizes(network: Network) -> list[Convolution]:
    """Return the sizes of all layers. A dense layer counts as a convolution."""
    assert isinstance(network.kind, Conv)
    sizes = network.kind.convolutions(network.form)
    dense = [w.shape[1:] for w in network.weights[len(sizes) :]]
    return [*sizes, *(Convolution(1, 1, n, 1, 1, units) for n, units in dense)]


def _go_back(
    convolved: Convolved, weights: Tensor, errors: Tensor, is_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a layer's weights and biases, and its images' errors.

    If `is_first` is true, the errors are not computed.
    """
    slope = torch.empty_like(weights.mT)
    bias_slope = weights.new_empty(weights.shape[0], 1, weights.shape[2])
    images = convolved.images
    image_errors = torch.empty_like(images[:0] if is_first else images)
    arrays = [images, weights.mT, convolved.places, errors, slope, bias_slope]
    scratch = _scratch(convolved.sizes, images)
    _library(images).convolve_back(
        convolved.sizes,
        *(array.data_ptr() for array in arrays),
        None if is_first else image_errors.data_ptr(),
        scratch.data_ptr(),
    )
    return slope.mT, bias_slope, image_errors


def _to_panels(
    rows: Float[Tensor, "S n numbers"],
) -> Float[Tensor, "S panels numbers lanes"]:
    """Return the examples in lines. Lanes beyond the batch are 0."""
    seeds, n, numbers = rows.shape
    lanes = LINE_BYTES // rows.element_size()
    panels = -(-n // lanes)
    if n % lanes:
        rows = torch.nn.functional.pad(rows, (0, 0, 0, panels * lanes - n))
    return rows.reshape(seeds, panels, lanes, numbers).mT.contiguous()


def _library(like: Tensor) -> Any:
    return extension.load(like.dtype).functions


def _scratch(sizes: extension.Convolution, like: Tensor) -> Tensor:
    return like.new_empty(int(_library(like).convolution_scratch(sizes)))
