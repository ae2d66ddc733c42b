"""GNP: gradient norm penalty (Zhao et al. 2022, arXiv 2202.03599, eq. 9, Alg. 1).

GNP minimizes L(w) + lambda ||grad L(w)||_2. To first order in rho, the gradient is

    g = (1 - alpha) grad L(w) + alpha grad L(w + rho grad L(w) / ||grad L(w)||_2)

with alpha = lambda / rho. The authors' published code also divides grad L(w) by its
norm. This module follows the paper, which does not divide it.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.schedule import ScheduledOptimizer


@attrs.frozen(kw_only=True)
class GNP(ScheduledOptimizer):
    """Mixes the gradient at the weights with the gradient at the perturbed weights.

    The perturbed weights are one ascent step of length rho away from the weights. Each
    update needs two forward and backward passes. Zhao et al. write r for rho. The
    default of alpha is from Zhao et al. SAM has alpha = 1. Larger values are possible:
    see `WSAM`.
    """

    name: ClassVar[str] = "gnp"
    rho: float = real(0.05, meaning="radius of the ascent step")
    alpha: float = real(0.8, meaning="weight of the gradient at the perturbed weights")
