"""The convolutional network of Dohare et al. 2024 (Nature 632), for any image.

Each convolution is followed by a maximum over 2 x 2 pixels and the activation. Dense
layers follow the last convolution. The authors train the network on pairs of classes of
ImageNet (shibhansh/loss-of-plasticity@63c35f3, lop/nets/conv_net.py:10-44), with images
of 32 x 32 pixels. Their convolutions have 32, 64 and 128 channels, and kernels of
5 x 5, 3 x 3 and 3 x 3 pixels. Two dense layers of 128 units follow. If an image is
smaller than a kernel or than a square of 2 x 2 pixels, the kernel or the square is cut
to the image.

The authors' code takes the maximum after the activation. Here, a ReLU comes after the
maximum: the results and the gradients are the same, and the ReLU has only a quarter of
the numbers to process. Other activations come before the maximum, as in the authors'
code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import attrs

from trainables.hyperparameter import parse_widths, text
from trainables.networks.activations import ACTIVATIONS
from trainables.networks.architecture import Architecture, Layer, dense_layers

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.problems import Form

KERNEL_SIDES = (5, 3)
"""The sides of the first kernel and of all later kernels, in pixels."""


def _channels_text(value: Any, field: attrs.Attribute[str]) -> str:
    return "-".join(map(str, parse_widths(field.name, value)))


class Convolution(NamedTuple):
    """The sizes of a convolution."""

    height: int  # of the images that it reads
    width: int
    channels: int
    rows: int  # of a kernel
    columns: int
    units: int

    @property
    def outputs(self) -> tuple[int, int]:
        """The height and width of a unit's outputs, before the maximum over squares."""
        return self.height - self.rows + 1, self.width - self.columns + 1

    @property
    def pooled(self) -> tuple[int, int]:
        """The height and width of a unit's outputs, after the maximum over squares."""
        height, width = self.outputs
        return max(1, height // 2), max(1, width // 2)


@attrs.frozen(kw_only=True)
class Conv(Architecture):
    """Convolutions, each with a maximum over 2 x 2 pixels, and then dense layers."""

    name: ClassVar[str] = "conv"
    is_chain: ClassVar[bool] = True
    hidden: ClassVar[tuple[int, ...]] = (128, 128)
    conv_channels: str = text(
        "32-64-128",
        _channels_text,
        unit="channels",
        meaning="numbers of channels of the convolutions",
    )

    @property
    def front(self) -> int:
        """The number of convolutions."""
        return self.conv_channels.count("-") + 1

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of the convolutions and of the dense layers."""
        convolutions, sizes = self.convolutions(form, outputs), []
        for c in convolutions:
            read, positions = c.rows * c.columns * c.channels, math.prod(c.outputs)
            copies = positions * read if positions > 1 else 0
            sizes.append(Layer(read, c.units, positions, copies))
        inputs = math.prod(convolutions[-1].pooled) * outputs * convolutions[-1].units
        return sizes + dense_layers(inputs, dense, outputs)

    def convolutions(self, form: Form, outputs: int = 1) -> list[Convolution]:
        """Return the sizes of the convolutions. A unit has `outputs` outputs."""
        (height, width), read = (form.height, form.width), form.channels
        sizes: list[Convolution] = []
        for units in parse_widths("conv_channels", self.conv_channels):
            kernel = _kernel(len(sizes), height, width)
            sizes.append(Convolution(height, width, read, *kernel, units))
            (height, width), read = sizes[-1].pooled, outputs * units
        return sizes

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the images, the outputs of each hidden layer, and the logits.

        The outputs of a convolution are those after the maximum.
        """
        import torch

        from trainables.networks.convolution import convolve, pool
        from trainables.networks.network import dense_forward

        form = network.form
        x = inputs.reshape(*inputs.shape[:2], form.height, form.width, form.channels)
        outputs = [inputs]
        for i in range(self.front):
            b, kernel = network.biases[i], _kernel(i, x.shape[2], x.shape[3])
            if network.normalized:
                z = convolve(x, network.weights[i], None, kernel)
                # normalize over all units of the layer: all channels at all positions
                z = torch.nn.functional.layer_norm(z, z.shape[2:]) + b[:, None, None]
            else:
                z = convolve(x, network.weights[i], b, kernel)
            if network.activation is None:
                x = pool(z).relu()
            else:
                x = pool(ACTIVATIONS[network.activation].function(z))
            outputs.append(x.flatten(1, 3))
        hidden, logits = dense_forward(network, x.flatten(2), self.front)
        return [*outputs, *hidden], logits


def _kernel(layer: int, height: int, width: int) -> tuple[int, int]:
    """Return the kernels' height and width, for images of this height and width."""
    side = KERNEL_SIDES[min(layer, 1)]
    return min(side, height), min(side, width)
