"""The base class of architectures: the layers of a network, and its forward pass.

Every layer has weights of shape (S, inputs, units) and biases of shape (S, 1, units)
for S seeds, whatever it computes with them. A kernel is such a matrix too: its inputs
are the numbers that one unit reads at one position of the image. Optimizers, bases,
penalties and probes therefore work on every architecture.

Settings import this module. It imports torch where it is needed.
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

    inputs: int  # numbers that a unit reads at one position
    units: int
    positions: int = 1  # positions of an image at which every unit is computed

    @property
    def numbers(self) -> int:
        """The numbers in memory for one example: the outputs, and copies of inputs."""
        copies = self.inputs if self.positions > 1 else 0
        return self.positions * (self.units + copies)


@attrs.frozen(kw_only=True)
class Architecture:
    """Base class: what lies between the images and the logits."""

    name: ClassVar[str]
    hidden: ClassVar[tuple[int, ...]]
    """The default widths of the dense layers between the images and the head."""

    is_chain: ClassVar[bool] = False
    """Whether each layer reads all outputs of the layer before, and only these.

    The units of the layer before are then in the same order at each position that a
    unit reads, as in a convolution or after one. So unit u of U has the rows u, u + U,
    u + 2 U, ... of the next layer's weights. Interventions that replace units need it.
    """

    @property
    def front(self) -> int:
        """The number of layers before the dense ones."""
        return 0

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of all layers, from the images of this form to the logits.

        `dense` are the widths of the dense layers, the last of which is the head. A
        unit of any other layer has `outputs` outputs (see `ACTIVATIONS`).
        """
        raise NotImplementedError

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the images, the outputs of each hidden layer, and the logits.

        `inputs` has the shape (S, n, pixels), and the outputs of a layer (S, n x
        positions, units). The outputs of the last hidden layer are (S, n, units).
        """
        raise NotImplementedError


def dense_layers(inputs: int, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
    """Return the sizes of dense layers in a chain, of which the first has `inputs`.

    >>> [layer.inputs for layer in dense_layers(784, [100, 20, 10], outputs=2)]
    [784, 200, 40]
    """
    fan_in = [inputs, *(outputs * width for width in dense[:-1])]
    return [Layer(*size) for size in zip(fan_in, dense, strict=True)]
