"""MSAM: momentum-SAM (Becker et al. 2024, arXiv 2401.12033, Alg. 1).

    g = grad L(w - rho v / ||v||)

v is the momentum buffer before the update, or the first moment of Adam. The last update
moved the weights along -v. The ascent step goes further in this direction, to where the
loss is likely to rise. The gradient at w is not computed. The defaults are from the
authors' code (MarlonBecker/MSAM@780fa4f, optimizer/msam.py:7-100; with Adam,
optimizer/adamW_msam.py:114-169). Their experiments use rho = 3.

The authors' code keeps the perturbed weights between steps, and undoes the ascent step
for tests. Under SGD, its weight decay shrinks the perturbed weights. In this project,
weight decay shrinks w, as in their code for Adam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real
from trainables.optimizers.sam import SAM
from trainables.optimizers.surface import Surface, step_along

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class MSAM(SAM):
    """SAM that steps along the momentum, and needs no second backward pass.

    It needs a second forward pass, to predict the labels with the weights w. With the
    base Adam, set momentum to 0.
    """

    name: ClassVar[str] = "msam"
    rho: float = real(0.3, meaning="radius of the ascent step")
    momentum: float = real(0.9, 0, 1, exclude_high=True, meaning="heavy-ball momentum")

    @property
    def passes(self) -> float:
        """A forward and backward pass, and a forward pass at a third of their cost."""
        return 4 / 3 if self.rho else 1

    def begin(self, network: Network, memory: Memory) -> None:
        """Create the momentum buffer, even if the momentum is 0, but not with Adam."""
        super().begin(network, memory)
        if "first" not in memory.moments:
            memory.moments.setdefault("velocity", network.zeros_like())

    def uphill(self, surface: Surface, memory: Memory) -> Network:
        """Return the gradient after a step along -v."""
        moments = memory.moments
        v = moments["first"] if "first" in moments else moments["velocity"]
        return surface.gradient_at(step_along(v, -1 * self.radius(memory)))
