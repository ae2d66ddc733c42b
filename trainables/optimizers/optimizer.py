"""The base class of all optimizers: which gradients to compute, and how to mix them.

A step has four parts. The right column says which code defines each part:

    uphill    g2, the gradient at the perturbed weights   an optimizer
    mix       g, a mixture of g1 = grad L(w) and g2       an optimizer
    penalty   g <- g + gradient of a penalty              an intervention
    base      the step along g: SGD, momentum or Adam     trainables.bases

The perturbed weights (the ascent point) are the weights w after the ascent step. Unless
an optimizer overrides them, `uphill` and `mix` are as in GNP (Zhao et al. 2022, arXiv
2202.03599):

    g2 = grad L(w + rho g1 / (||g1|| + EPSILON)),   g  = (1 - alpha) g1 + alpha g2

SGD has alpha = 0 and SAM has alpha = 1. The norm is over all weights and biases of one
seed. The step is the same as in torch.optim.SGD, with weight decay c and momentum m:

    g <- g + c w,   v <- m v + g,   w <- w - lr v

Momentum therefore averages only the final gradient g, and not g1 or g2.

Numbers that an optimizer keeps between steps are in `Memory`. A new task changes only
the numbers of a schedule of rho (`begin_task`).
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
    """Whether a step branches on computed values, so a CUDA graph cannot capture it."""
    lr: float = real(0.01, exclude_low=True, meaning="learning rate")
    momentum: float = real(0.0, 0, 1, exclude_high=True, meaning="heavy-ball momentum")
    weight_decay: float = real(
        0.0, meaning="factor of the weights added to the gradient"
    )

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
        """Whether g is (1 - alpha) g1 + alpha g2, with the ascent step of `ascent`.

        If so, an engine can compute the whole update with its own equations.
        """
        methods = "gradient", "uphill", "mix"
        return all(getattr(type(self), m) is getattr(Optimizer, m) for m in methods)

    def begin(self, network: Network, memory: Memory) -> None:
        """Add the numbers that the optimizer needs between steps to `memory`.

        `memory` already has the numbers of momentum or of the base.
        """

    def begin_task(self, memory: Memory, progress: float) -> None:
        """Prepare `memory` for the next task.

        `progress` is the number of finished tasks divided by the number of tasks.
        """

    def count(self, memory: Memory) -> None:
        """Count an update, before its gradient is computed."""

    def radius(self, memory: Memory) -> float | Tensor:
        """Return rho at this update: a number, or one for each network, (S, 1, 1)."""
        return _value("rho", memory, self.rho)

    def rate(self, memory: Memory) -> float | Tensor:
        """Return lr at this update: a number, or one for each network, (S, 1, 1)."""
        return _value("lr", memory, self.lr)

    def ascent_weight(self, memory: Memory) -> float | Tensor:
        """Return alpha at this update: a number, or one for each network, (S, 1, 1).

        `mix` uses the optimizer's own alpha, because only the engine torch trains
        settings together.
        """
        return _value("alpha", memory, self.alpha)

    def gradient(self, surface: Surface, memory: Memory) -> Network:
        """Return the gradient g along which the base takes its step."""
        if not (self.rho and self.alpha):
            return surface.gradient
        return self.mix(surface, self.uphill(surface, memory))

    def uphill(self, surface: Surface, memory: Memory) -> Network:
        """Return g2, the gradient at the perturbed weights."""
        radius = self.radius(memory)
        if not self.scales_ascent:
            return surface.gradient_uphill(radius)
        step = self.ascent(surface.network, surface.gradient, radius)
        return surface.gradient_at(step)

    def mix(self, surface: Surface, g2: Network) -> Network:
        """Return the gradient g, a mixture of g2 and the gradient at the weights."""
        if self.alpha == 1:
            return g2
        return (1 - self.alpha) * surface.gradient + self.alpha * g2

    def ascent(
        self, network: Network, gradient: Network, radius: float | Tensor
    ) -> Network:
        """Return the ascent step radius g / ||g|| from the weights of `network`."""
        return step_along(gradient, radius)

    @property
    def scales_ascent(self) -> bool:
        """Whether the optimizer overrides `ascent`, which then scales each weight."""
        return type(self).ascent is not Optimizer.ascent


def _value(name: str, memory: Memory, value: float) -> float | Tensor:
    """Return the numbers in `memory` that replace a hyperparameter, or its value.

    `trainables.joint` puts them there: one number for each network, shape (S, 1, 1).
    """
    numbers = memory.marks.get(name)
    return value if numbers is None else numbers[:, None, None]
