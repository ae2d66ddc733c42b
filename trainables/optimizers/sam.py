"""SAM: sharpness-aware minimization (Foret et al. 2021, arXiv 2010.01412, eq. 2-3).

g = grad L(w + rho grad L(w) / ||grad L(w)||_2)
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.schedule import ScheduledOptimizer


@attrs.frozen(kw_only=True)
class SAM(ScheduledOptimizer):
    """Uses the gradient at the perturbed weights instead of the current weights.

    The perturbed weights are one ascent step of length rho away from the weights. To
    first order, they have the largest loss within rho of the weights. Each update needs
    two forward and backward passes. The default of rho is from Foret et al.
    """

    name: ClassVar[str] = "sam"
    rho: float = real(0.05, meaning="radius of the ascent step")

    @property
    def alpha(self) -> float:
        """1, because SAM uses only the gradient at the perturbed weights."""
        return 1.0
