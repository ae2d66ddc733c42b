"""The base class of architectures: the layers of a network, and its forward pass.

Every layer has weights of shape (S, inputs, units) and biases of shape (S, 1, units)
for S seeds. The kernels of a convolution also form such a matrix. Its inputs are the
numbers that a unit reads at one position of the image. Optimizers, bases, penalties and
probes therefore work on every architecture.

Settings import this module, so it must not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import attrs

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.problems import Form


class Layer(NamedTuple):
    """The size of a layer."""

    inputs: int  # rows of the weights: numbers that a unit reads at one position
    units: int
    positions: int = 1  # positions of an image at which every unit is computed
    stored: int = 0  # numbers that are stored per example, besides the outputs
    gain: bool = False  # the last row of the weights are gains, which are 1 at first
    bound: float | None = None  # of initial weights; None: the setting determines it

    @property
    def numbers(self) -> int:
        """How many numbers are stored per example."""
        return self.positions * self.units + self.stored


@attrs.frozen(kw_only=True)
class Architecture:
    """Base class of architectures, which compute the logits of images."""

    name: ClassVar[str]
    hidden: ClassVar[tuple[int, ...]]
    """The default widths of the dense layers between the images and the head."""

    is_chain: ClassVar[bool] = False
    """Whether each layer reads the layer before it, and no other layer.

    Interventions that replace units need such a chain. They also need a fixed order of
    inputs: if the layer before has U units, the weights that read its unit u are rows
    u, u + U, u + 2 U and so on, one row for each position that is read.
    """

    is_plain: ClassVar[bool] = True
    """Whether each layer is a product with weights, plus biases, and an activation.

    A layer that has gains or normalizes its outputs is not plain. Activations other
    than the ReLU need plain layers, and so do interventions that change layers or
    spectral norms.
    """

    heads: ClassVar[int] = 1
    """The number of output layers (heads).

    If there are several, the list of layers has as many parts of equal length, one
    after the other, and each part ends in a head.
    """

    def head_positions(self, layers: int) -> range:
        """Return the positions of the heads in a list of this many layers.

        >>> from trainables.networks import MLP, ActorCritic
        >>> [*MLP().head_positions(4)], [*ActorCritic().head_positions(6)]
        ([3], [2, 5])
        """
        length = layers // self.heads
        return range(length - 1, layers, length)

    @property
    def front(self) -> int:
        """The number of layers before the dense layers."""
        return 0

    def check(self, form: Form) -> None:
        """Raise a UsageError if the network cannot read images of this form."""

    def statistics(self, form: Form) -> list[int]:
        """Return the units of each layer that batch normalization normalizes."""
        return []

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of all layers, from the images of this form to the logits.

        `dense` are the widths of the dense layers. The last dense layer is the head,
        which computes the logits. In all other layers, each unit has `outputs` outputs
        (see `ACTIVATIONS`).
        """
        raise NotImplementedError

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the images, the outputs of each hidden layer, and the logits.

        `inputs` has the shape (S, n, pixels). The outputs of a layer have the shape
        (S, n x positions, units), and those of the last hidden layer (S, n, units).
        The list need not contain layers without an activation.
        """
        raise NotImplementedError


def dense_layers(inputs: int, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
    """Return the sizes of dense layers in a chain. The first layer has `inputs` inputs.

    >>> [layer.inputs for layer in dense_layers(784, [100, 20, 10], outputs=2)]
    [784, 200, 40]
    """
    fan_in = [inputs, *(outputs * width for width in dense[:-1])]
    return [Layer(*size) for size in zip(fan_in, dense, strict=True)]


def pytorch_bound(fan_in: int) -> float:
    """Return the bound of torch.nn.Linear: 1 / sqrt(fan_in), for weights and biases.

    PyTorch draws the weights with `kaiming_uniform_` and a = sqrt(5). Their bound is
    sqrt(6 / ((1 + a^2) fan_in)), which equals the bound of the biases.
    """
    return 1 / math.sqrt(fan_in)


INITIALIZATIONS: dict[str, Callable[[int], float]] = {"pytorch": pytorch_bound}
"""Distributions besides the default, by name: the bound for a number of inputs."""


def initial_bound(fan_in: int, initialization: str | None, *, output: bool) -> float:
    """Return the bound b of a layer's initial weights, which are uniform in [-b, b].

    By default, b = gain sqrt(3 / fan_in), where `fan_in` is the number of inputs. The
    gain is 1 for the output layer. For all other layers, it is sqrt(2), which suits a
    ReLU (He et al. 2015, arXiv 1502.01852). `initialization` is None or a key of
    `INITIALIZATIONS`.
    """
    if initialization:
        return INITIALIZATIONS[initialization](fan_in)
    return math.sqrt((3 if output else 6) / fan_in)
