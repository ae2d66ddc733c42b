"""ASAM: adaptive SAM (Kwon et al. 2021, arXiv 2102.11600, Alg. 1).

    T = |w| + eta, elementwise;   g = grad L(w + rho T^2 g1 / ||T g1||_2)

The ascent step is longest within an ellipsoid that scales with the weights, so that
rescaling layers that undo each other changes no sharpness. T is taken of all weights
and biases, as the paper has it; their code leaves the biases out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import real
from trainables.optimizers.sam import SAM


@dataclass(frozen=True, kw_only=True)
class ASAM(SAM):
    """SAM whose radius is in units of each weight's own size; two passes.

    Attributes:
        rho: Radius of the ascent step, at least 0; 0.5 is Kwon et al.'s on CIFAR-10.
        eta: Added to the weight's size, above 0; 0.01 is Kwon et al.'s.
    """

    name: ClassVar[str] = "asam"
    rho: float = 0.5
    eta: float = 0.01

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        object.__setattr__(self, "eta", real("eta", self.eta, above=True))

    @property
    def offset(self) -> float | None:
        """What is added to the weights' sizes in T."""
        return self.eta
