"""GNP: gradient norm penalty (Zhao et al. 2022, arXiv 2202.03599, eq. 9, Alg. 1).

Descends L(w) + lambda ||grad L(w)||_2, whose gradient is, to first order in rho,

    g = (1 - alpha) grad L(w) + alpha grad L(w + rho grad L(w) / ||grad L(w)||_2)

with alpha = lambda / rho. The authors' published code also divides grad L(w) by its
norm; this follows the paper, which does not.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.optimizer import Optimizer


@attrs.frozen(kw_only=True)
class GNP(Optimizer):
    """A mixture of the gradients at w and at the worst point nearby; two passes.

    rho is the paper's r; the default alpha is Zhao et al.'s.
    """

    name: ClassVar[str] = "gnp"
    rho: float = real(0.05, meaning="radius of the ascent step")
    alpha: float = real(
        0.8, 0, 1, meaning="weight of the gradient at the perturbed weights"
    )
