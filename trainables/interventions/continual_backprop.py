"""Continual backprop: regularly replace the hidden units that contribute least.

The algorithm is Algorithm 1 of Dohare et al. 2024 (Nature 632). An earlier version is
in Dohare et al. 2023 (arXiv 2306.13812). Each hidden unit i has a utility u_i, a
running average of its contribution to the next layer:

    u_i <- eta u_i + (1 - eta) |h_i| sum_k |w_ik|

Here, h_i is the output of the unit before the update, averaged over the batch. w_ik are
the unit's outgoing weights after the update. The age of a unit is the number of updates
since the unit was created. A unit is mature if its age is above m.

Each layer has an account. At every update, the account grows by the replacement rate
times the number of mature units of the layer. When the account is above 1, it falls by
1, and the mature unit with the least utility is replaced. The new unit gets new
incoming weights. Its outgoing weights, utility and age are 0.

The paper of 2023 also subtracts the running mean from h_i, and divides the contribution
by the sum of the incoming weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real, whole
from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.units import replace_units, split_by_layer, unit_zeros

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.network import Network
    from trainables.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class ContinualBackprop(Intervention):
    """Replaces, from time to time, the mature hidden unit with the least utility.

    The defaults are those of Dohare et al. 2023 and 2024. utility_decay is eta in these
    papers.
    """

    name: ClassVar[str] = "continual_backprop"
    replacement_rate: float = real(
        1e-4,
        0,
        1,
        meaning="share of the units older than maturity to replace per update",
    )
    maturity: int = whole(
        100, 0, unit="updates", meaning="age above which a hidden unit may be replaced"
    )
    utility_decay: float = real(
        0.99,
        0,
        1,
        exclude_high=True,
        meaning="decay per update of a unit's utility, a running average",
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Create each unit's utility and age, and each layer's account, in the memory.

        All of these numbers start at 0.
        """
        utility, layers = unit_zeros(network), len(network.biases) - 1
        memory.marks |= {
            "utility": utility,
            "age": utility.long(),
            "account": utility.new_zeros(network.seeds, layers).double(),
            "steps": utility.new_zeros(network.seeds).long(),
        }

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, then update the utilities and replace units.

        Returns the logits before the update.
        """
        from trainables.network import forward

        hidden = forward(stack.network, inputs)[0][1:]
        logits = update(inputs, labels)
        self.judge(stack, [h.mean(1) for h in hidden])
        return logits

    def judge(self, stack: Stack, outputs: Sequence[Tensor]) -> None:
        """Update utilities, ages and accounts, and replace the units that are due.

        If the account of a layer is above 1, the layer's mature unit with the least
        utility is due.

        Args:
            stack: The networks and their memory.
            outputs: Each unit's output before the update, averaged over the batch.
                There is one tensor of shape (S, width) per hidden layer. Outputs are at
                least 0, because they are outputs of a ReLU.
        """
        import torch

        marks, weights = stack.memory.marks, stack.network.weights[1:]
        use = [h * w.abs().sum(2) for h, w in zip(outputs, weights, strict=True)]
        marks["utility"].lerp_(torch.cat(use, 1), 1 - self.utility_decay)
        marks["steps"] += 1
        marks["age"] += 1
        is_mature = marks["age"] > self.maturity
        count = torch.stack([m.sum(1) for m in split_by_layer(stack, is_mature)], 1)
        marks["account"] += self.replacement_rate * count
        due = (marks["account"] > 1) & (count > 0)
        if not due.any():
            return
        marks["account"] -= due.double()
        chosen = []
        utility = marks["utility"].masked_fill(~is_mature, math.inf)
        for layer, of_layer in enumerate(split_by_layer(stack, utility)):
            least = of_layer.argmin(1, keepdim=True)
            is_least = torch.zeros_like(of_layer, dtype=torch.bool)
            chosen.append(is_least.scatter_(1, least, True) & due[:, layer, None])
        replace_units(stack, chosen, "replace", marks["steps"])
        for name in ("utility", "age"):
            marks[name].masked_fill_(torch.cat(chosen, 1), 0)
