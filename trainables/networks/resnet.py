"""ResNet-18 (He et al. 2016, arXiv 1512.03385), in the form for images of 32 x 32.

The first convolution has kernels of 3 x 3 and stride 1, and no pooling follows it. Then
come four stages of two blocks each. If x is the input of a block, its output is

    relu(norm(conv(relu(norm(conv(x))))) + x)

All kernels are of 3 x 3. In stages 2 to 4, the first block halves the height and the
width, and doubles the channels. In these blocks, norm(conv1x1(x)) replaces x in the
sum. After the last block, the head reads the mean over all positions. This is ResNet18
of kuangliu/pytorch-cifar@49b7aa9 (models/resnet.py:14-39, 73-108). Dohare et al. 2024
use the same network for CIFAR-100 (shibhansh/loss-of-plasticity@63c35f3,
lop/nets/torchvision_modified_resnet.py:53-151, 209-237). Their convolutions also have
biases, which have no effect, because the normalization subtracts them.

norm is batch normalization (Ioffe & Szegedy 2015, arXiv 1502.03167). Training uses the
mean and the variance of the batch, and moves the running statistics a tenth of the way
towards them. Tests and probes use the running statistics. So the outputs for one
example do not depend on other examples, and the loss of a batch is the mean of its
examples' losses, as in other networks. SAM's pass at the perturbed weights uses the
mean and the variance of the batch, but does not move the running statistics
(`trainables.optimizers.surface`).

A convolution and its normalization are one layer of the `Network`. The last row of the
layer's weights has the gains of the normalization. Each other row belongs to one of the
numbers that a kernel reads. The layer's biases are those of the normalization.

This code computes the networks of the seeds one by one, because the rounding of a
grouped convolution depends on the number of groups. This costs little time, because one
network's convolutions take much longer than the overhead of calling them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import attrs

from trainables.hyperparameter import whole
from trainables.networks.architecture import Architecture, Layer, dense_layers

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.problems import Form

STAGES = 4
BLOCKS = 2
"""The number of blocks in a stage."""

MOMENTUM, EPSILON = 0.1, 1e-5
"""A batch moves the running statistics towards its own by the share `MOMENTUM`.

`EPSILON` is added to the variance. Both are as in torch.nn.BatchNorm2d.
"""


class Unit(NamedTuple):
    """The sizes of a convolution with its normalization."""

    channels: int  # of its inputs
    units: int
    side: int  # of the kernels
    stride: int
    positions: int  # of its outputs


@attrs.frozen(kw_only=True)
class ResNet18(Architecture):
    """Convolutions with batch normalization, in blocks with a shortcut."""

    name: ClassVar[str] = "resnet18"
    is_plain: ClassVar[bool] = False
    hidden: ClassVar[tuple[int, ...]] = ()
    resnet_width: int = whole(
        64,
        unit="channels",
        meaning="channels of the first stage; each later stage has twice as many",
    )

    @property
    def front(self) -> int:
        """The number of convolutions, including those of the shortcuts."""
        return 1 + STAGES * BLOCKS * 2 + STAGES - 1

    def units(self, form: Form) -> list[Unit]:
        """Return the convolutions in the order of the network.

        In a block, the convolution of the shortcut is the last one.
        """
        size, read, width = (form.height, form.width), form.channels, self.resnet_width
        units = [Unit(read, width, 3, 1, math.prod(size))]
        read = width
        for stage in range(STAGES):
            width = self.resnet_width * 2**stage
            for block in range(BLOCKS):
                stride = 2 if stage and not block else 1
                size = -(-size[0] // stride), -(-size[1] // stride)
                positions = math.prod(size)
                units.append(Unit(read, width, 3, stride, positions))
                units.append(Unit(width, width, 3, 1, positions))
                if stride == 2:
                    units.append(Unit(read, width, 1, stride, positions))
                read = width
        return units

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of the convolutions and of the head."""
        sizes = [
            Layer(
                u.side**2 * u.channels + 1,
                u.units,
                u.positions,
                stored=u.positions * u.units,  # before the normalization
                gain=True,
            )
            for u in self.units(form)
        ]
        return sizes + dense_layers(sizes[-1].units, dense, outputs)

    def statistics(self, form: Form) -> list[int]:
        """Return the units of each convolution."""
        return [unit.units for unit in self.units(form)]

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the images, the outputs of each hidden layer, and the logits.

        The hidden layers are those with a ReLU. The last one has its means over the
        positions. Except in the mode "test", the list has only the images, these means
        and the outputs of dense layers.
        """
        import torch

        from trainables.networks.network import dense_forward

        tensors = [tensor.unbind() for tensor in network.tensors()]
        outputs = []
        for seed, images in enumerate(inputs.unbind()):
            numbers = [of_seeds[seed] for of_seeds in tensors]
            outputs.append(self._convolve(network, seed, numbers, images))
        layers = [torch.stack(layer) for layer in zip(*outputs, strict=True)]
        dense, logits = dense_forward(network, layers[-1], self.front)
        return [inputs, *layers, *dense], logits

    def _convolve(
        self, network: Network, seed: int, numbers: list[Tensor], images: Tensor
    ) -> list[Tensor]:
        """Return the outputs of each hidden layer of one seed, of shape (rows, units).

        `numbers` has the seed's tensors, in the order of `Network.tensors`.
        """
        form, layers = network.form, len(numbers) // 2
        units = self.units(form)
        hidden: list[Tensor] = []

        def layer(i: int, x: Tensor) -> Tensor:
            tensors = numbers[i], numbers[layers + i], network.statistics[i][seed]
            return _normalized(x, units[i], *tensors, network.mode)

        def activate(x: Tensor) -> Tensor:
            x = x.relu()
            if network.mode == "test":
                hidden.append(x.permute(0, 2, 3, 1).flatten(0, 2))
            return x

        x = images.view(-1, form.height, form.width, form.channels)
        x, i = activate(layer(0, _planes(x))), 1
        while i < len(units):
            inner = layer(i + 1, activate(layer(i, x)))
            if units[i].channels != units[i].units:
                x, i = layer(i + 2, x), i + 1
            x, i = activate(inner + x), i + 2
        return [*hidden[:-1], x.mean((2, 3))]


def _normalized(
    images: Tensor, unit: Unit, w: Tensor, b: Tensor, statistics: Tensor, mode: str
) -> Tensor:
    """Return the normalized outputs of a convolution: (n, units, height, width).

    `images` has the shape (n, channels, height, width). In the mode "learn", this
    function changes `statistics`.
    """
    from torch.nn import functional

    rows = w.mT[:, :-1].reshape(-1, unit.side, unit.side, unit.channels)
    kernels = _planes(rows)
    padding = unit.side // 2
    z = functional.conv2d(images, kernels, stride=unit.stride, padding=padding)
    mean, variance = statistics
    if mode == "test":  # the second derivatives of torch's function are wrong here
        scale, shift = w[-1] * (variance + EPSILON).rsqrt(), b[0, :, None, None]
        outputs: Tensor = (z - mean[:, None, None]) * scale[:, None, None] + shift
        return outputs
    learns = mode == "learn"
    return functional.batch_norm(
        z,
        mean if learns else None,
        variance if learns else None,
        w[-1],
        b[0],
        training=True,
        momentum=MOMENTUM,
        eps=EPSILON,
    )


def _planes(images: Tensor) -> Tensor:
    """Return images of shape (n, height, width, channels), with the channels second.

    The images are copied for the sake of torch 2.15 on a CPU: there, the gradient of a
    1 x 1 convolution with a stride overwrites other memory if the channels of a pixel
    stay side by side.
    """
    import torch

    return images.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)
