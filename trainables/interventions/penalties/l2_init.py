"""L2-init: an L2 penalty on the distance of the weights from their initial values.

The penalty is from Kumar et al. 2023 (arXiv 2308.11958):

    L(w) + 0.5 lambda ||w - w0||^2

w0 are the initial weights and biases. The factor 0.5 is in the authors' code
(skumar9876/L2_Init@3f86d26, agents/agents.py:282-297) and not in the paper. This module
follows the code, because the published values of lambda were found with it. The
gradient gets the term lambda (w - w0).

Like weight decay, this term is added only to the gradient that updates the weights. The
ascent step of SAM does not use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class L2Init(Intervention):
    """Pulls the weights towards their initial values, as weight decay does towards 0.

    init_decay is lambda of Kumar et al. The default is their best value on permuted
    MNIST, under SGD and under Adam.
    """

    name: ClassVar[str] = "l2_init"
    init_decay: float = real(
        0.01, meaning="factor of (weights - initial weights) added to the gradient"
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Add a copy of the initial weights and biases to the memory."""
        memory.kept["origin"] = network.map(lambda tensor: tensor.clone())

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add init_decay (w - w0) to the gradient, where w0 are the initial weights."""
        networks = (gradient, stack.network, stack.memory.kept["origin"])
        for g, w, w0 in zip(*(n.tensors() for n in networks), strict=True):
            g.add_(w - w0, alpha=self.init_decay)
