"""Activation functions of the hidden layers, besides the ReLU.

To add an activation, write a function and add it to `ACTIVATIONS`. The functions import
torch only when they are called, because code that only creates settings must start
fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Activation(NamedTuple):
    """An activation function of a layer's z = h W + b, and its outputs per unit."""

    function: Callable[[Tensor], Tensor]  # (S, n, width) to (S, n, outputs * width)
    outputs: int = 1


def leaky_relu(z: Tensor) -> Tensor:
    """Return z if z > 0, else 0.01 z (Maas et al. 2013)."""
    from torch.nn.functional import leaky_relu

    return leaky_relu(z)


def leaky_relu_tenth(z: Tensor) -> Tensor:
    """Return z if z > 0, else 0.1 z, as in the networks of arXiv 2506.00592."""
    from torch.nn.functional import leaky_relu

    return leaky_relu(z, 0.1)


def tanh(z: Tensor) -> Tensor:
    """Return tanh z."""
    return z.tanh()


def crelu(z: Tensor) -> Tensor:
    """Return (relu z, relu -z) (Shang et al. 2016, arXiv 1603.05201).

    Abbas et al. 2023 (arXiv 2303.07507) use it against loss of plasticity.
    """
    import torch

    return torch.cat([z.relu(), z.neg().relu()], dim=-1)


def sine_cosine(z: Tensor) -> Tensor:
    """Return (sin z, cos z): the deep Fourier features of arXiv 2410.20634."""
    import torch

    return torch.cat([z.sin(), z.cos()], dim=-1)


ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": Activation(leaky_relu),
    "leaky_relu_tenth": Activation(leaky_relu_tenth),
    "tanh": Activation(tanh),
    "crelu": Activation(crelu, outputs=2),
    "sine_cosine": Activation(sine_cosine, outputs=2),
}
