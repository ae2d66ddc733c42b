"""What every optimizer is made of: a gradient, then one step of SGD with it.

The gradient is GNP's (Zhao et al. 2022, arXiv 2202.03599), of which the others are
ends:

    g1 = grad L(w),   g2 = grad L(w + rho g1 / (||g1|| + EPSILON))
    g  = (1 - alpha) g1 + alpha g2

alpha = 0 is SGD, alpha = 1 is SAM. The norm is over all weights and biases of a seed.
The step is torch.optim.SGD's: with weight decay c and momentum m,

    g <- g + c w,   v <- m v + g,   w <- w - lr v

so momentum sees only the final gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import real

EPSILON = 1e-12
"""Added to the norm of the gradient, so that a dead network's step is 0, not NaN."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The hyperparameters of the step, and where the gradient is taken.

    Attributes:
        lr: Learning rate, above 0.
        momentum: Heavy-ball momentum, in [0, 1).
        weight_decay: L2 coefficient added to the gradient, at least 0.
    """

    name: ClassVar[str]
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "lr", real("lr", self.lr, above=True))
        momentum = real("momentum", self.momentum, 0, 1, below=True)
        object.__setattr__(self, "momentum", momentum)
        decay = real("weight_decay", self.weight_decay)
        object.__setattr__(self, "weight_decay", decay)

    @property
    def radius(self) -> float:
        """The radius rho of the ascent step; 0 where there is none."""
        return 0.0

    @property
    def mixing(self) -> float:
        """The weight alpha of the gradient at the perturbed weights."""
        return 0.0

    @property
    def offset(self) -> float | None:
        """The eta of an ascent step that is adaptive (ASAM's); None: it is not."""
        return None

    @property
    def passes(self) -> int:
        """Forward and backward passes per update: 2 where g2 is needed, else 1."""
        return 2 if self.radius > 0 and self.mixing > 0 else 1
