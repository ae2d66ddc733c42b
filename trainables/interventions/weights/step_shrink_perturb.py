"""Shrink and perturb at every step, as the literature on plasticity does.

After every update, every weight and bias w becomes

    (1 - step_shrink) w + step_perturb u

With step_noise = "initial", u is drawn like an initial weight, as in Kumar et al. 2023
(arXiv 2308.11958; skumar9876/L2_Init@3f86d26, agents/agents.py:651-668). Their paper
writes p for 1 - step_shrink, and their code writes shrink for step_shrink.

With step_noise = "normal", u is drawn from N(0, 1), as in Dohare et al. 2024
(shibhansh/loss-of-plasticity@63c35f3, lop/algos/bp.py:43-57). Their shrinking is the
weight decay of the optimizer: use weight_decay with step_shrink = 0.

Ash & Adams 2020, who introduced the method, shrink once before each task: see
`warm_start`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import choice, real
from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.noise import Noise, draw_noise

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory, Stack


@attrs.frozen(kw_only=True)
class StepShrinkPerturb(Intervention):
    """Shrinks all weights and adds noise to them after every update.

    The defaults are the best values of Kumar et al. for SGD on permuted MNIST. For
    Adam, their best step_shrink is 1e-3.
    """

    name: ClassVar[str] = "step_shrink_perturb"
    step_shrink: float = real(
        1e-4, 0, 1, meaning="share by which all weights shrink after every update"
    )
    step_perturb: float = real(
        0.01, meaning="factor of the noise added to all weights after every update"
    )
    step_noise: str = choice(
        "initial",
        ("initial", "normal"),
        meaning="noise after every update: initial (like initial weights) or normal",
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Set the number of updates of each seed to 0."""
        memory.marks["steps"] = network.weights[0].new_zeros(network.seeds).long()

    def step(
        self, stack: Stack, update: Update, inputs: Tensor, labels: Tensor
    ) -> Tensor:
        """Update the networks, then shrink the weights and add noise."""
        logits = update(inputs, labels)
        network, steps = stack.network, stack.memory.marks["steps"]
        steps += 1
        noise = draw_noise(stack, steps, self.noise(network))
        for tensor, u in zip(network.tensors(), noise.tensors(), strict=True):
            tensor.mul_(1 - self.step_shrink).add_(u)
        return logits

    def noise(self, network: Network) -> Noise:
        """Return the distribution of step_perturb u, for each weight and bias."""
        from trainables.networks.network import initial_bounds

        if self.step_noise == "normal":
            return Noise("normal", [self.step_perturb] * len(network.tensors()))
        bounds = initial_bounds(network)
        return Noise("uniform", [self.step_perturb * bound for bound in bounds])
