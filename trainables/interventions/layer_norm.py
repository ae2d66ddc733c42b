"""Layer normalization (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

Each hidden layer's summed inputs a = h W become (a - mean) / sqrt(var + 1e-5) + b, with
mean and variance over the layer's units, before the ReLU. There is no gain: a positive
gain can move through the ReLU into the next layer's weights. So the network still has
only weights and biases, and its initial ones are the same as without normalization.
Lyle et al. 2023 (arXiv 2303.01486) recommend layer normalization to keep plasticity.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.interventions.intervention import Intervention


@attrs.frozen(kw_only=True)
class LayerNorm(Intervention):
    """Every hidden layer's units are normalized before their ReLU."""

    name: ClassVar[str] = "layer_norm"
    normalizes: ClassVar[bool] = True
