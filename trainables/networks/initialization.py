"""Distributions of the initial weights, besides the default of `initial_network`."""

from __future__ import annotations

import math
from collections.abc import Callable


def pytorch_bound(fan_in: int) -> float:
    """Return the bound of torch.nn.Linear: 1 / sqrt(fan_in), for weights and biases.

    PyTorch draws the weights with `kaiming_uniform_` and a = sqrt(5). Their bound is
    sqrt(6 / ((1 + a^2) fan_in)), which equals the bound of the biases,
    1 / sqrt(fan_in).
    """
    return 1 / math.sqrt(fan_in)


INITIALIZATIONS: dict[str, Callable[[int], float]] = {"pytorch": pytorch_bound}
"""Functions by name, which take the number of inputs of a layer and return a bound b.

The weights and biases of the layer are uniform in [-b, b].
"""
