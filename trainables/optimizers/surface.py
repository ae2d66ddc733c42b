"""The loss surface of a batch, on which an optimizer computes gradients.

Two engines have their own surface. `trainables.steps.reference` computes gradients with
autograd, and `trainables.steps.fast` with fewer operations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network

EPSILON = 1e-12
"""A small number that is added to the norm of the gradient, to avoid dividing by 0."""

ROUNDING = 64
"""A difference of two vectors counts as a rounding error up to this norm, in ulps.

An ulp is the unit in the last place of the norm of one of the two vectors.
"""


class Surface:
    """The mean loss L of one batch, as a function of the weights w of S networks.

    `gradient_of` takes networks, and returns each seed's gradient and logits.

    Attributes:
        network: The networks at the weights w.
        correction: A direction that an optimizer can set. After the step of the base,
            lr times this direction is subtracted from the weights, without momentum.
    """

    def __init__(
        self,
        network: Network,
        gradient_of: Callable[[Network], tuple[Network, Tensor]],
    ) -> None:
        """Store the arguments. Nothing is computed yet."""
        self.network, self._gradient_of = network, gradient_of
        self.correction: Network | None = None

    @functools.cached_property
    def _gradient_and_logits(self) -> tuple[Network, Tensor]:
        return self._gradient_of(self.network)

    @property
    def gradient(self) -> Network:
        """The gradient g1 = grad L(w), which is computed once."""
        return self._gradient_and_logits[0]

    @property
    def logits(self) -> Tensor:
        """The logits at the weights w, of shape (S, n, outputs)."""
        return self._gradient_and_logits[1]

    def gradient_at(self, step: Network) -> Network:
        """Return grad L(w + step).

        This pass does not change the running statistics of batch normalization. Only
        the pass at w moves them, as in davda54/sam@3c3afdb (example/train.py:50-60).
        """
        perturbed = self.network + step
        if perturbed.mode == "learn":
            perturbed = perturbed.in_mode("climb")
        return self._gradient_of(perturbed)[0]

    def gradient_uphill(self, radius: float | Tensor) -> Network:
        """Return g2 = grad L(w + radius g1 / (||g1|| + EPSILON)).

        `radius` is a number, or a tensor with one number for each seed, (S, 1, 1).
        """
        return self.gradient_at(step_along(self.gradient, radius))


def step_along(
    direction: Network, radius: float | Tensor, operand: Network | None = None
) -> Network:
    """Return the step of this radius along `direction`, for each seed.

    Args:
        direction: The direction of each seed, of any length. If it is 0, the step is 0.
        radius: The length of the step: a number, or one for each seed, (S, 1, 1).
        operand: If `direction` is a difference of two vectors, one of the two. The step
            is then 0 if the difference counts as a rounding error: see `ROUNDING`.
    """
    size = direction.norm()
    if operand is not None:
        import torch

        least = ROUNDING * torch.finfo(size.dtype).eps * operand.norm()
        size = size.where(size > least, torch.inf)
    return direction * (radius / (size + EPSILON))


def orthogonal_part(vector: Network, other: Network) -> Network:
    """Return the component of `vector` that is orthogonal to `other`, for each seed."""
    length, other_length = vector.norm(), other.norm()
    cosine = vector.dot(other) / (length * other_length + EPSILON)
    return vector - other * (cosine * length / (other_length + EPSILON))
