"""SAM: sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412, eq. 2-3).

g = grad L(w + rho grad L(w) / ||grad L(w)||_2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import real
from trainables.optimizers.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class SAM(Optimizer):
    """The gradient at the worst point nearby, to first order; two passes.

    Attributes:
        rho: Radius of the ascent step, at least 0; 0.05 is Foret et al.'s choice.
    """

    name: ClassVar[str] = "sam"
    rho: float = 0.05

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        object.__setattr__(self, "rho", real("rho", self.rho))

    @property
    def radius(self) -> float:
        """The radius of the ascent step."""
        return self.rho

    @property
    def mixing(self) -> float:
        """1: only the gradient at the perturbed weights counts."""
        return 1.0
