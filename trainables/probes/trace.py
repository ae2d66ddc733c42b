"""The trace of the Hessian, estimated: the sum of all its eigenvalues.

Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix": for z
with independent entries +1 or -1, E[z^T H z] = tr H, with variance
2 sum_{i != j} H_ij^2, the least of all such estimators.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from trainables.probes.landscape import SAMPLES, Landscape
from trainables.probes.measure import landscape_probe


@landscape_probe(
    unit="nats",
    source="Hutchinson 1990",
    meaning="sum of the Hessian's eigenvalues, estimated",
)
def hessian_trace(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return the mean of z^T H z over 10 random z, an unbiased estimate of tr H."""
    return landscape.quadratic_forms.mean(dim=1)


@landscape_probe(
    unit="nats", source="Hutchinson 1990", meaning="standard error of hessian_trace"
)
def hessian_trace_error(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return the standard error of `hessian_trace`: s / sqrt(10)."""
    return landscape.quadratic_forms.std(dim=1) / math.sqrt(SAMPLES)
