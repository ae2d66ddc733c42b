"""SAM: sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412, eq. 2-3).

g = grad L(w + rho grad L(w) / ||grad L(w)||_2)
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.optimizer import Optimizer


@attrs.frozen(kw_only=True)
class SAM(Optimizer):
    """The gradient at the worst point nearby, to first order; two passes.

    The default rho is Foret et al.'s.
    """

    name: ClassVar[str] = "sam"
    rho: float = real(0.05, meaning="radius of the ascent step")

    @property
    def alpha(self) -> float:
        """1: only the gradient at the perturbed weights counts."""
        return 1.0
