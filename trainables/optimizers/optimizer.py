"""The base class of all optimizers: compute a gradient, then make one step of SGD.

The gradient is that of GNP (Zhao et al. 2022, arXiv 2202.03599):

    g1 = grad L(w),   g2 = grad L(w + rho g1 / (||g1|| + EPSILON))
    g  = (1 - alpha) g1 + alpha g2

SGD has alpha = 0 and SAM has alpha = 1. The norm is over all weights and biases of one
seed. ASAM scales the ascent step elementwise by T:

    g2 = grad L(w + rho T^2 g1 / (||T g1|| + EPSILON))

The step is the same as in torch.optim.SGD, with weight decay c and momentum m:

    g <- g + c w,   v <- m v + g,   w <- w - lr v

Momentum therefore averages only the final gradient g, and not g1 or g2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-12
"""A small number that is added to the norm of the gradient, to avoid dividing by 0."""


@attrs.frozen(kw_only=True)
class Optimizer:
    """The hyperparameters of the gradient and of the step."""

    name: ClassVar[str]
    lr: float = real(0.01, exclude_low=True, meaning="learning rate")
    momentum: float = real(0.0, 0, 1, exclude_high=True, meaning="heavy-ball momentum")
    weight_decay: float = real(0.0, meaning="L2 coefficient added to the gradient")

    @property
    def rho(self) -> float:
        """The radius of the ascent step. 0 means that there is no ascent step."""
        return 0.0

    @property
    def alpha(self) -> float:
        """The factor (0 to 1) of the gradient at the perturbed weights."""
        return 0.0

    @property
    def passes(self) -> int:
        """The number of forward and backward passes per update: 1 or 2.

        The second pass computes the gradient at the perturbed weights.
        """
        return 2 if self.rho > 0 and self.alpha > 0 else 1

    def ascent_scale(self, weights: Tensor) -> Tensor:
        """Return the elementwise scale T of the ascent step for these weights."""
        return weights.new_ones(())

    @property
    def scales_biases(self) -> bool:
        """Whether `ascent_scale` holds for biases too. If not, their scale is 1."""
        return True

    @property
    def scales_ascent(self) -> bool:
        """Whether the optimizer scales the ascent step (its scale T is not 1)."""
        return type(self).ascent_scale is not Optimizer.ascent_scale
