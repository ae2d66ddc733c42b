"""F-SAM: friendly SAM (Li et al. 2024, CVPR, arXiv 2403.12350, Alg. 1).

    g = grad L(w + rho d / ||d||),   d = g1 - sigma m,   m <- lambda m + (1 - lambda) g1

where g1 = grad L(w). The average m estimates the gradient on all examples, so d is the
part of g1 that is noise of the batch. (VaSSO instead ascends along the average.) At the
first update, d = g1, and then m = g1. In the paper, d uses m after its update. The
authors' code uses m before its update (nblt/F-SAM@2e2f989, utils.py:427-463). This
module follows the code, and has its defaults. For CIFAR-100, their run.sh has rho 0.2
and lambda 0.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.surface import Surface, step_along
from trainables.optimizers.vasso import AveragingSAM

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class FSAM(AveragingSAM):
    """SAM that ascends along the part of the gradient that is noise of the batch."""

    name: ClassVar[str] = "fsam"
    fsam_sigma: float = real(
        1.0, meaning="F-SAM: factor of the average that is subtracted; 0 is SAM"
    )
    fsam_lambda: float = real(
        0.9, 0, 1, meaning="F-SAM: decay of the average of the gradients"
    )

    def uphill(self, surface: Surface, memory: Memory) -> Network:
        """Return the gradient after a step along g1 - sigma m, and update m."""
        g1 = surface.gradient
        direction = g1 - self.fsam_sigma * memory.moments["ascent"]
        self.average(g1, memory, 1 - self.fsam_lambda)
        step = step_along(direction, self.radius(memory), operand=g1)
        return surface.gradient_at(step)
