"""Parseval regularization: keep the weights of each hidden layer orthogonal.

Chung et al. 2024 (arXiv 2412.07224) add to the loss

    lambda sum_l (64 / width_l)^2 ||W_l^T W_l - 2 I||_F^2

W_l has a column of incoming weights for each unit of hidden layer l, and width_l is the
number of these units. The penalty pulls each column to the squared length 2, which
suits a ReLU. The penalty is from the authors' code (wechu/parseval_reg@e861c30,
parseval_reg/agent.py:279-319). The code has the factor (64 / width)^2, because the
authors found lambda with a width of 64. The output layer has no penalty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Stack


@attrs.frozen(kw_only=True)
class Parseval(Intervention):
    """Adds a penalty on the inner products of the units' incoming weights.

    parseval_strength is lambda. The authors use 1e-3 or 1e-4, depending on the
    environment (main.py:337-418).
    """

    name: ClassVar[str] = "parseval"
    parseval_strength: float = real(
        1e-3, meaning="factor of the penalty on weights that are not orthogonal"
    )

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Add lambda (64 / width)^2 4 W (W^T W - 2 I), the gradient of the penalty."""
        network = stack.network
        pairs = zip(network.weights, gradient.weights, strict=True)
        for number, (w, g) in enumerate(pairs):
            if number in network.heads:
                continue
            products = w.mT @ w
            products.diagonal(dim1=1, dim2=2).sub_(2)
            scale = (64 / w.shape[2]) ** 2
            g.add_(w @ products, alpha=4 * scale * self.parseval_strength)
