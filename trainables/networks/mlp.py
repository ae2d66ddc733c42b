"""The MLP (multilayer perceptron): dense layers in a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from trainables.networks.architecture import Architecture, Layer, dense_layers
from trainables.problems import Form


@attrs.frozen(kw_only=True)
class MLP(Architecture):
    """Dense layers that read all pixels.

    This is the default architecture: settings and records have null for it. Its forward
    pass is `trainables.networks.network.dense_forward`. The engines "torch" and
    "native" have their own.
    """

    name: ClassVar[str] = "mlp"
    is_chain: ClassVar[bool] = True
    hidden: ClassVar[tuple[int, ...]] = (100, 100, 100)

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of all layers."""
        return dense_layers(form.pixels, dense, outputs)
