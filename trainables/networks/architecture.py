"""The base class of architectures: the layers of a network, and its forward pass.

Every layer has weights of shape (S, inputs, units) and biases of shape (S, 1, units)
for S seeds. The kernels of a convolution form such a matrix too: its inputs are the
numbers that a unit reads at one position of the image. Optimizers, bases, penalties and
probes therefore work on every architecture.

Settings import this module, so it must not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    bound: float | None = None  # of the initial weights; None: as the setting says

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

    Interventions that replace units need such a chain, and a fixed order of inputs:
    if the layer before has U units, its unit u has the rows u, u + U, u + 2 U, ... of
    the weights. There is one such row for each position that the weights read.
    """

    is_plain: ClassVar[bool] = True
    """Whether a layer is a product with its weights, its biases and an activation.

    Other activations, and interventions that change the layers or their spectral norms,
    need this. A layer with gains, or one that normalizes its outputs, is not plain.
    """

    @property
    def front(self) -> int:
        """The number of layers before the dense layers."""
        return 0

    def check(self, form: Form) -> None:
        """Check that the network can read images of this form.

        Raises:
            UsageError: It cannot.
        """

    def statistics(self, form: Form) -> list[int]:
        """Return the units of each layer that batch normalization normalizes."""
        return []

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of all layers, from the images of this form to the logits.

        `dense` are the widths of the dense layers. The last of these layers is the
        head, which computes the logits. The units of all other layers have `outputs`
        outputs each (see `ACTIVATIONS`).
        """
        raise NotImplementedError

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the images, the outputs of each hidden layer, and the logits.

        `inputs` has the shape (S, n, pixels), and the outputs of a layer (S, n x
        positions, units). The outputs of the last hidden layer are (S, n, units).
        Layers without an activation may be left out.
        """
        raise NotImplementedError


def dense_layers(inputs: int, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
    """Return the sizes of dense layers in a chain. The first layer has `inputs` inputs.

    >>> [layer.inputs for layer in dense_layers(784, [100, 20, 10], outputs=2)]
    [784, 200, 40]
    """
    fan_in = [inputs, *(outputs * width for width in dense[:-1])]
    return [Layer(*size) for size in zip(fan_in, dense, strict=True)]
