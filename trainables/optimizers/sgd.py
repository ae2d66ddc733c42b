"""SGD: stochastic gradient descent (Robbins & Monro 1951), with optional momentum."""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.optimizers.optimizer import Optimizer


@attrs.frozen(kw_only=True)
class SGD(Optimizer):
    """Uses the gradient of the loss at the weights: g = grad L(w).

    Each update needs one forward and backward pass.
    """

    name: ClassVar[str] = "sgd"
