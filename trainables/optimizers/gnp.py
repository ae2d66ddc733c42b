"""GNP: gradient norm penalty (Zhao et al. 2022, arXiv 2202.03599, eq. 9, Alg. 1).

Descends L(w) + lambda ||grad L(w)||_2, whose gradient is, to first order in rho,

    g = (1 - alpha) grad L(w) + alpha grad L(w + rho grad L(w) / ||grad L(w)||_2)

with alpha = lambda / rho. Their published code also divides the plain gradient by its
norm, which their paper does not; this is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import real
from trainables.optimizers.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class GNP(Optimizer):
    """A mixture of the gradients here and at the worst point nearby; two passes.

    Attributes:
        rho: Radius of the ascent step, at least 0 (the paper's r).
        alpha: Weight of the perturbed gradient, in [0, 1]; 0.8 is Zhao et al.'s choice.
    """

    name: ClassVar[str] = "gnp"
    rho: float = 0.05
    alpha: float = 0.8

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        object.__setattr__(self, "rho", real("rho", self.rho))
        object.__setattr__(self, "alpha", real("alpha", self.alpha, 0, 1))

    @property
    def radius(self) -> float:
        """The radius of the ascent step."""
        return self.rho

    @property
    def mixing(self) -> float:
        """The weight of the perturbed gradient."""
        return self.alpha
