"""The distribution of a layer's initial weights: uniform in [-b, b], for a bound b."""

from __future__ import annotations

import math

INITIALIZATIONS = ("pytorch",)
"""The distributions besides the default, by name."""


def initial_bound(fan_in: int, initialization: str | None, *, output: bool) -> float:
    """Return the bound b of the initial weights of a layer with `fan_in` inputs.

    By default, b = gain sqrt(3 / fan_in). The gain is 1 for the output layer, and
    sqrt(2) for all other layers, which suits a ReLU (He et al. 2015, arXiv 1502.01852).
    If `initialization` is "pytorch", b = 1 / sqrt(fan_in), as in torch.nn.Linear.
    """
    if initialization == "pytorch":
        return 1 / math.sqrt(fan_in)
    return math.sqrt((3 if output else 6) / fan_in)
