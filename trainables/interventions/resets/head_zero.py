"""Head zero: set the output layers to 0 before every task.

All weights and biases of the output layer become 0. The moments of the optimizer do not
change. Dohare et al. 2024 (Nature 632) use this method on pairs of ImageNet classes
(shibhansh/loss-of-plasticity@63c35f3, lop/imagenet/single_expr.py:141-143).
Because the output weights are 0, the hidden layers get no gradient at the first update
of a task. With actor and critic, both output layers become 0: all actions are then
equally likely, and all values are 0.

The authors' code sets the output layer to 0 before the first task too. Here, the first
task starts from the initial weights, like the first task of every other method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from trainables.networks.stack import Stack


@attrs.frozen(kw_only=True)
class HeadZero(Intervention):
    """Sets the output layers to 0 before every task except the first."""

    name: ClassVar[str] = "head_zero"

    def begin_task(self, stack: Stack) -> None:
        """Set the weights and biases of the output layers to 0."""
        for i in stack.network.heads:
            stack.network.weights[i].zero_()
            stack.network.biases[i].zero_()
