"""Probes of curvature: the Hessian's largest eigenvalue, its trace and its rank.

H is the Hessian of the mean loss on the probe examples. The trace of a perceptron with
ReLUs is computed without an estimate (see `chain`). Other traces are estimated with
random vectors z, whose entries are independently +1 or -1 (Hutchinson 1990, "A
stochastic estimator of the trace of the influence matrix"). The expected value of z^T H
z is tr H. The variance of z^T H z is 2 sum_{i != j} H_ij^2. No other independent
entries with mean 0 and variance 1 have a smaller variance.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.lanczos import largest_eigenvalue, quadrature
from trainables.probes.landscape import SAMPLES, Landscape
from trainables.probes.measure import landscape_probe

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Largest residual bound of an eigenvalue, relative to the eigenvalue.

The error of the eigenvalue is much smaller than this bound (see `lanczos`).
"""

STEPS = 300
"""The maximum number of Lanczos steps for one eigenvalue."""

THRESHOLD = 0.1
"""An eigenvalue counts for hessian_rank if its magnitude is above this number."""

RANK_STEPS = 32
"""The number of Lanczos steps for hessian_rank.

In networks of 3 x 100 units, 32 steps separate eigenvalues beyond `THRESHOLD` from
eigenvalues near 0. For a threshold of 0.01, even 64 steps are too few.
"""


@landscape_probe(
    unit="nats", source="Lyle et al. 2023 (arXiv 2303.01486)", also_before=True
)
def sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Largest eigenvalue of the Hessian of the mean loss.

    The Lanczos method computes the eigenvalue with a relative error of at most
    `TOLERANCE`. If the method does not converge, the value is NaN. Lyle et al. 2023
    observe that this eigenvalue grows from task to task when a network loses
    plasticity.

    Products of the Hessian and a vector use the network's dtype, because float64 would
    take twice the time. If the hidden layers are 100-100-100, there are 8 to 20
    products, and the error is 1e-6 to 1e-5.
    """
    tolerance = TOLERANCE[landscape.inputs.dtype]
    return largest_eigenvalue(landscape.lanczos, tolerance, STEPS)


@landscape_probe(unit="nats", source="Hutchinson 1990")
def hessian_trace(landscape: Landscape) -> Float[Tensor, " S"]:
    """Sum of the Hessian's eigenvalues.

    The sum is the trace of the Hessian H. For a perceptron with ReLUs, it is exact
    except for rounding. For other networks, it is an unbiased estimate: the mean of
    z^T H z over 10 random vectors z, whose entries are +1 or -1.
    """
    if landscape.chain is not None:
        return landscape.chain.trace()
    return landscape.quadratic_forms.mean(dim=1)


@landscape_probe(unit="nats", source="Hutchinson 1990")
def hessian_trace_error(landscape: Landscape) -> Float[Tensor, " S"]:
    """Standard error of hessian_trace, or 0 if it is exact.

    For an estimate, it is s / sqrt(10), where s is the standard deviation of the 10
    values of z^T H z.
    """
    if landscape.chain is not None:
        return torch.zeros_like(landscape.loss)
    return landscape.quadratic_forms.std(dim=1) / math.sqrt(SAMPLES)


@landscape_probe(
    source="He et al. 2025 (arXiv 2509.22335); Ubaru, Chen & Saad 2017",
    only_before=True,
)
def hessian_rank(landscape: Landscape) -> Float[Tensor, " S"]:
    """Estimated number of the Hessian's eigenvalues with a magnitude above 0.1.

    The number is an epsilon-rank with epsilon = 0.1 nats. He et al. 2025 find that this
    rank collapses before a new task when a network loses plasticity. We did not find
    their value of epsilon.

    The estimate is by stochastic Lanczos quadrature (see `lanczos`), with one random
    vector. With k eigenvalues beyond the threshold, its standard error is about
    sqrt(2 k). This probe takes about twice as long as sharpness, with which it shares
    the Lanczos steps.
    """
    lanczos = landscape.lanczos
    nodes, weights = quadrature(lanczos, RANK_STEPS)
    share = (weights * (nodes.abs() > THRESHOLD)).sum(dim=1)
    return (lanczos.size * share).where(nodes.isfinite().all(dim=1), torch.nan)
