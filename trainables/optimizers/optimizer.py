"""The base class of all optimizers: which gradients to compute, and how to mix them.

A step has four parts, which are written in four places:

    uphill    g2, the gradient at the ascent point        an optimizer
    mix       g, a mixture of g1 = grad L(w) and g2       an optimizer
    penalty   g <- g + gradient of a penalty              an intervention
    base      the step along g: SGD, momentum or Adam     trainables.bases

Unless an optimizer changes them, the first two parts are as in GNP (Zhao et al. 2022,
arXiv 2202.03599):

    g2 = grad L(w + rho g1 / (||g1|| + EPSILON)),   g  = (1 - alpha) g1 + alpha g2

SGD has alpha = 0 and SAM has alpha = 1. The norm is over all weights and biases of one
seed. The step is the same as in torch.optim.SGD, with weight decay c and momentum m:

    g <- g + c w,   v <- m v + g,   w <- w - lr v

Momentum therefore averages only the final gradient g, and not g1 or g2.

Numbers that a method keeps between steps are in `Memory`: checkpoints contain them. At
the start of a task they stay as they are, like the moments of momentum and Adam. If an
intervention redraws a weight, the running averages of this weight become 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.surface import Surface, step_along

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class Optimizer:
    """The hyperparameters of the gradient and of the step."""

    name: ClassVar[str]
    branches: ClassVar[bool] = False
    """Whether a step branches on computed values, which a CUDA graph cannot capture."""
    lr: float = real(0.01, exclude_low=True, meaning="learning rate")
    momentum: float = real(0.0, 0, 1, exclude_high=True, meaning="heavy-ball momentum")
    weight_decay: float = real(0.0, meaning="L2 coefficient added to the gradient")

    @property
    def rho(self) -> float:
        """The radius of the ascent step. 0 means that there is no ascent step."""
        return 0.0

    @property
    def alpha(self) -> float:
        """The factor (at least 0) of the gradient at the perturbed weights."""
        return 0.0

    @property
    def passes(self) -> float:
        """The mean number of forward and backward passes per update, e.g. 1 or 2.

        The second pass computes the gradient at the perturbed weights.
        """
        return 2 if self.rho > 0 and self.alpha > 0 else 1

    @property
    def is_mixture(self) -> bool:
        """Whether g is (1 - alpha) g1 + alpha g2, with g2 after the step of `ascent`.

        An engine may then use equations of its own for the whole update.
        """
        own, plain = type(self), Optimizer
        return (own.gradient, own.uphill, own.mix) == (
            *(plain.gradient, plain.uphill, plain.mix),
        )

    def begin(self, network: Network, memory: Memory) -> None:
        """Add the numbers that the method needs between steps to `memory`.

        The numbers of momentum or of the base are already there.
        """

    def begin_task(self, memory: Memory, progress: float) -> None:
        """Change what the method keeps between steps (`memory`), before a task.

        `progress` is the task's position in the stream: 0 for the first task, and below
        1 for the last.
        """

    def count(self, memory: Memory) -> None:
        """Count an update, before its gradient is computed."""

    def radius(self, memory: Memory) -> float | Tensor:
        """Return rho at this update: a number, or one for each seed, (S, 1, 1)."""
        return self.rho

    def rate(self, memory: Memory) -> float | Tensor:
        """Return lr at this update: a number, or one for each seed, (S, 1, 1)."""
        return self.lr

    def gradient(self, surface: Surface, memory: Memory) -> Network:
        """Return the gradient g along which the base makes its step."""
        if not (self.rho and self.alpha):
            return surface.gradient
        return self.mix(surface, self.uphill(surface, memory))

    def uphill(self, surface: Surface, memory: Memory) -> Network:
        """Return g2, the gradient at the ascent point."""
        radius = self.radius(memory)
        if not self.scales_ascent:
            return surface.gradient_uphill(radius)
        step = self.ascent(surface.network, surface.gradient, radius)
        return surface.gradient_at(step)

    def mix(self, surface: Surface, g2: Network) -> Network:
        """Return the gradient g, a mixture of g2 and of the gradient at the weights."""
        if self.alpha == 1:
            return g2
        return (1 - self.alpha) * surface.gradient + self.alpha * g2

    def ascent(
        self, network: Network, gradient: Network, radius: float | Tensor
    ) -> Network:
        """Return the ascent step radius g / ||g|| from the weights of `network`."""
        return step_along(gradient, radius)

    @property
    def scales_biases(self) -> bool:
        """Whether `ascent` also scales the step of the biases, not only of weights."""
        return True

    @property
    def scales_ascent(self) -> bool:
        """Whether the ascent step has a scale of its own for each weight."""
        return type(self).ascent is not Optimizer.ascent
