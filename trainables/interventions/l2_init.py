"""L2-init: L2 regularization towards the initial weights (Kumar et al. 2023).

arXiv 2308.11958: L(w) + lambda ||w - w0||^2, whose gradient adds
2 lambda (w - w0). Like weight decay, the penalty belongs to the step: SAM's ascent
ignores it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from trainables.network import Network
    from trainables.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class L2Init(Intervention):
    """Weight decay towards the initial weights.

    init_decay is 2 lambda: it multiplies (w - w0) in the gradient. Kumar et al. search
    lambda over powers of ten from 1e-5 to 1e-2.
    """

    name: ClassVar[str] = "l2_init"
    init_decay: float = real(0.01, meaning="L2 coefficient towards the initial weights")

    def begin(self, network: Network, memory: Memory) -> None:
        """Remember the initial weights."""
        memory.kept["origin"] = network.map(lambda tensor: tensor.clone())

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add init_decay (w - w0)."""
        networks = (gradient, stack.network, stack.memory.kept["origin"])
        for g, w, w0 in zip(*(n.tensors() for n in networks), strict=True):
            g.add_(w - w0, alpha=self.init_decay)
