"""UPGD: gate the gradient and noise of each weight by the weight's utility.

Utility-based perturbed gradient descent is from Elsayed & Mahmood 2024 (arXiv
2404.00781). g is the gradient of a weight or bias w, and xi is drawn from N(0, 1). The
utility u of a weight, and the gradient that replaces g, are

    u <- beta u - (1 - beta) g w
    g <- (g + sigma xi) (1 - sigmoid(u' / max u))

max u is the largest utility in the network, and u' = u / (1 - beta^t) after t updates.
The equations are those of FirstOrderGlobalUPGD in the authors' code
(mohmdelsayed/upgd@b75e90a, core/optim/weight_upgd/first_order.py:73-111). As there, max
u is not divided by 1 - beta^t, so the factors of g are closer to 0 or 1 early in a run
than later. As there, the gradient of weight decay has no such factor. (The README of
their repository doubles the step; the code of the experiments does not.)

The authors use SGD. With another optimizer, g is the gradient of that optimizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.noise import Noise, draw_noise

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class UPGD(Intervention):
    """Lets useful weights change little, and perturbs the other weights.

    The authors use the defaults for permuted MNIST, with lr 0.01 and weight_decay 0.01.
    """

    name: ClassVar[str] = "upgd"
    upgd_decay: float = real(
        0.9999,
        0,
        1,
        exclude_high=True,
        meaning="UPGD: decay per update of a weight's utility (a running average)",
    )
    upgd_noise: float = real(
        0.1, meaning="UPGD: standard deviation of the noise added to the gradient"
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the utility of each weight and the number of updates to 0."""
        memory.kept["utility"] = network.zeros_like()
        memory.marks["steps"] = network.weights[0].new_zeros(network.seeds).long()

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Count and do the update; return the logits before the update."""
        stack.memory.marks["steps"] += 1
        return update(inputs, labels)

    def penalize(self, stack: Stack, gradient: Network) -> None:
        """Multiply the gradient plus noise by a factor from each weight's utility."""
        import torch

        steps, kept = stack.memory.marks["steps"], stack.memory.kept["utility"]
        tensors = (gradient.tensors(), stack.network.tensors(), kept.tensors())
        for g, w, u in zip(*tensors, strict=True):
            u.mul_(self.upgd_decay).addcmul_(g, w, value=self.upgd_decay - 1)
        most = torch.stack([u.amax((1, 2)) for u in kept.tensors()]).amax(0)
        # do not divide by 0: if all gradients are 0, all utilities are 0
        scale = most.where(most != 0, 1) * (1 - self.upgd_decay ** steps.double())
        noise = draw_noise(stack, steps, self.noise(stack.network)).tensors()
        divisor = -scale[:, None, None].to(gradient.weights[0].dtype)
        for g, xi, u in zip(gradient.tensors(), noise, kept.tensors(), strict=True):
            # 1 - sigmoid(x) = sigmoid(-x)
            g.add_(xi).mul_((u / divisor).sigmoid_())

    def noise(self, network: Network) -> Noise:
        """Return the distribution of sigma xi, for each weight and bias."""
        return Noise("normal", [self.upgd_noise] * len(network.tensors()))
