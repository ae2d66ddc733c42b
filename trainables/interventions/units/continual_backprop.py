"""Continual backprop: replace the few hidden units that contribute least.

The method is from Dohare et al. 2024 (Nature 632). By default, this module follows
the authors' code (shibhansh/loss-of-plasticity@63c35f3, lop/algos/gnt.py:79-204), with
the settings of their experiment on permuted MNIST (lop/permuted_mnist/cfg/cbp.json).

Each hidden unit i has two running averages, of its output and of its contribution:

    f_i <- eta f_i + (1 - eta) mean(h_i)
    u_i <- eta u_i + (1 - eta) mean(|h_i - f_i'|) mean_k |w_ik| / mean_j |w_ji|

h_i is the output of the unit before the update, and mean(...) is over the batch. w_ik
are the unit's outgoing weights and w_ji its incoming weights, after the update. The
prime means division by 1 - eta^age, which corrects the bias of a young average. The age
of a unit is the number of updates since the unit was created. The units are ranked by
the utility u_i'. A unit is mature if its age is above `maturity`.

Each layer has an account: the number of units to replace, which can be a fraction. At
every update, the account grows by the replacement rate times the number of mature units
of the layer. The whole part n of the account is subtracted, and the n mature units with
the least utility are replaced. The layers are processed from the inputs to the outputs.
A new unit gets new incoming weights. Its outgoing weights, its averages and its age are
0.

In a convolutional network, a unit is a channel, and mean(...) is also over the
positions of the image. mean_k |w_ik| is also over the positions of the next layer's
kernels. If the next layer is dense, each position has its own weights. Then
mean(...) mean_k |w_ik| is computed at each position, and averaged over the positions
(lop/algos/convGnT.py:86-142).

With `utility` = "printed", this module follows the simpler Algorithm 1 of the paper.
u_i is the plain average of mean(|h_i|) sum_k |w_ik|. If the account of a layer is above
1, one unit is replaced, and 1 is subtracted. So at most one unit of a layer is replaced
per update, even if the account grows by more than 1 per update.

The authors' code also has lines that add a replaced unit's mean output to the biases of
the next layer (gnt.py:200-202). They have no effect, because the mean is set to 0
before (gnt.py:174), and this module leaves them out. This module sets the momentum of
new weights to 0. The authors' code does so only for Adam, and was run without momentum.
With Adam, new weights have a new count of steps (gnt.py:216-225): see
`trainables.bases.adam`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import choice, real, whole
from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.units.replacement import (
    replace_units,
    split_by_layer,
    unit_zeros,
)

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class ContinualBackprop(Intervention):
    """Regularly replaces the mature hidden units that have the least utility.

    The defaults are from Dohare et al. 2024, who tried replacement_rate at 1e-4, 1e-5
    and 1e-6 for layers of 2,000 units. With 100 units, the default replaces one unit of
    a layer in 1,000 updates. A rate of 1e-4 replaces one unit in 100 updates, which is
    the age at which new units become mature. So the rate of 1e-4 replaces new units
    again and again. utility_decay is eta in the paper.
    """

    name: ClassVar[str] = "continual_backprop"
    replacement_rate: float = real(
        1e-5,
        0,
        1,
        meaning="share of the mature units (older than maturity) to replace per update",
    )
    maturity: int = whole(
        100, 0, unit="updates", meaning="age above which a hidden unit may be replaced"
    )
    utility_decay: float = real(
        0.99,
        0,
        1,
        exclude_high=True,
        meaning="decay per update of a unit's utility (a running average)",
    )
    utility: str = choice(
        "adaptable",
        ("adaptable", "printed"),
        meaning="a unit's utility: adaptable (as in the authors' code) or printed (as "
        "in the paper); null in old records: printed",
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Set each unit's averages and age, and each layer's account, to 0."""
        zeros, layers = unit_zeros(network), len(network.biases) - 1
        memory.marks |= {
            "utility": zeros,
            "mean_output": zeros.clone(),
            "age": zeros.long(),
            "account": zeros.new_zeros(network.seeds, layers).double(),
            "steps": zeros.new_zeros(network.seeds).long(),
        }

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, then update the utilities and replace units."""
        from trainables.networks.network import forward

        hidden = forward(stack.network, inputs)[0][1:]
        logits = update(inputs, labels)
        self.judge(stack, hidden)
        return logits

    def judge(self, stack: Stack, hidden: Sequence[Tensor]) -> None:
        """Update utilities, ages and accounts, and replace units.

        `hidden` has the units' outputs before the update: one tensor of shape (S,
        batch, width) per hidden layer.
        """
        marks = stack.memory.marks
        marks["steps"] += 1
        marks["age"] += 1
        self._average(stack, hidden)
        marks["account"] += self.replacement_rate * self._mature_units(stack)
        self.replace(stack)

    def _mature_units(self, stack: Stack) -> Tensor:
        """Return the number of mature units in each layer, of shape (S, layers)."""
        import torch

        is_mature = stack.memory.marks["age"] > self.maturity
        counts = [layer.sum(1) for layer in split_by_layer(stack, is_mature)]
        return torch.stack(counts, 1).double()

    def replace(self, stack: Stack) -> None:
        """Replace the mature units with the least utility, as the accounts say."""
        import torch

        marks = stack.memory.marks
        if self.utility == "printed":
            pays = (marks["account"] > 1) & (self._mature_units(stack) > 0)
            number = pays.double()
        else:
            number = marks["account"].floor()
        if not number.any():
            return
        marks["account"] -= number
        utility = marks["utility"]
        if self.utility == "adaptable":
            utility = utility / self._correction(stack)
        utility = utility.masked_fill(marks["age"] <= self.maturity, math.inf)
        chosen = [
            _least(of_layer, number[:, layer, None])
            for layer, of_layer in enumerate(split_by_layer(stack, utility))
        ]
        replace_units(stack, chosen, "replace", marks["steps"], layer_by_layer=True)
        for name in ("utility", "mean_output", "age"):
            marks[name].masked_fill_(torch.cat(chosen, 1), 0)

    def _correction(self, stack: Stack) -> Tensor:
        """Return 1 - utility_decay^age of each unit."""
        dtype = stack.network.weights[0].dtype
        return 1 - self.utility_decay ** stack.memory.marks["age"].to(dtype)

    def _average(self, stack: Stack, hidden: Sequence[Tensor]) -> None:
        """Update the running averages of all units."""
        import torch

        marks, weights = stack.memory.marks, stack.network.weights
        front = stack.network.kind.front if stack.network.kind else 0
        is_printed = self.utility == "printed"
        if is_printed:
            sizes = [h.abs() for h in hidden]
        else:
            means = torch.cat([h.mean(1) for h in hidden], 1)
            averages = marks["mean_output"].lerp_(means, 1 - self.utility_decay)
            centers = split_by_layer(stack, averages / self._correction(stack))
            pairs = zip(hidden, centers, strict=True)
            sizes = [(h - center[:, None]).abs() for h, center in pairs]
        uses = []
        for layer, size in enumerate(sizes):
            outgoing = weights[layer + 1].abs()
            outgoing = outgoing.sum(2) if is_printed else outgoing.mean(2)
            use = _contribution(size, outgoing, is_dense=layer + 1 >= front)
            if not is_printed:
                incoming = weights[layer].abs().mean(1)
                # if all incoming weights of a unit are 0, do not divide by 0
                use = use / incoming.clamp_(min=torch.finfo(use.dtype).eps)
            uses.append(use)
        marks["utility"].lerp_(torch.cat(uses, 1), 1 - self.utility_decay)


def _contribution(sizes: Tensor, outgoing: Tensor, *, is_dense: bool) -> Tensor:
    """Return each unit's mean output times the mean size of its outgoing weights.

    `sizes` has the absolute outputs of U units, of shape (S, examples x positions, U).
    `outgoing` has one number for each row of the next layer's weights, of shape (S,
    rows). If `is_dense` is true, each position has its own row.
    """
    seeds, _, units = sizes.shape
    rows = outgoing.reshape(seeds, -1, units)  # by position of the kernel or the image
    if not is_dense:
        return sizes.mean(1) * rows.mean(1)
    by_position = sizes.reshape(seeds, -1, rows.shape[1], units).mean(1)
    return (by_position * rows).mean(1)


def _least(numbers: Tensor, count: Tensor) -> Tensor:
    """Return a bool mask of the `count` least numbers in each row of `numbers`.

    `numbers` has shape (S, n) and `count` has shape (S, 1). Of equal numbers, the first
    counts as the least.
    """
    import torch

    order = numbers.sort(dim=1, stable=True).indices
    rank = torch.arange(numbers.shape[1], device=numbers.device)
    return torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, rank < count)
