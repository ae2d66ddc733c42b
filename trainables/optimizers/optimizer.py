"""What all optimizers share: a gradient, then one step of SGD with it.

The gradient is GNP's (Zhao et al. 2022, arXiv 2202.03599):

    g1 = grad L(w),   g2 = grad L(w + rho g1 / (||g1|| + EPSILON))
    g  = (1 - alpha) g1 + alpha g2

SGD has alpha = 0 and SAM has alpha = 1. The norm is over all weights and biases of a
seed. An optimizer may scale the ascent step elementwise by T (ASAM does): then
g2 = grad L(w + rho T^2 g1 / (||T g1|| + EPSILON)). The step is torch.optim.SGD's: with
weight decay c and momentum m,

    g <- g + c w,   v <- m v + g,   w <- w - lr v

so momentum sees only the final gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-12
"""Added to the gradient's norm: where the gradient is 0, the ascent step is 0 too."""


@attrs.frozen(kw_only=True)
class Optimizer:
    """The hyperparameters of the step, and the point where the gradient is taken."""

    name: ClassVar[str]
    lr: float = real(0.01, exclude_low=True, meaning="learning rate")
    momentum: float = real(0.0, 0, 1, exclude_high=True, meaning="heavy-ball momentum")
    weight_decay: float = real(0.0, meaning="L2 coefficient added to the gradient")

    @property
    def rho(self) -> float:
        """The radius of the ascent step; 0: no step."""
        return 0.0

    @property
    def alpha(self) -> float:
        """The weight of the gradient at the perturbed weights."""
        return 0.0

    @property
    def passes(self) -> int:
        """Forward and backward passes per update: 2 where g2 is needed, else 1."""
        return 2 if self.rho > 0 and self.alpha > 0 else 1

    def ascent_scale(self, weights: Tensor) -> Tensor:
        """Return T, which scales the ascent step of these weights or biases."""
        return weights.new_ones(())

    @property
    def scales_ascent(self) -> bool:
        """Whether T is not 1."""
        return type(self).ascent_scale is not Optimizer.ascent_scale
