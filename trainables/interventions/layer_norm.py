"""Layer normalization (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

Each hidden layer first computes a = h W from its input h. Then a becomes (a - mean) /
sqrt(var + 1e-5) + b, where the mean and the variance are over the units of the layer.
The activation follows. There is no gain: after a ReLU, the weights of the next layer
can have the same effect as a positive gain. The network therefore has the same weights
and biases, with the same initial values, as without normalization. Lyle et al. 2023
(arXiv 2303.01486) recommend layer normalization to keep plasticity.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.interventions.intervention import Intervention


@attrs.frozen(kw_only=True)
class LayerNorm(Intervention):
    """Normalizes the units of every hidden layer before their activation."""

    name: ClassVar[str] = "layer_norm"
    normalizes: ClassVar[bool] = True
