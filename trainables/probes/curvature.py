"""Probes of curvature: the largest eigenvalue and the trace of the Hessian H.

H is the Hessian of the mean loss on the probe examples. Its trace is estimated with
random vectors z, whose entries are independently +1 or -1 (Hutchinson 1990, "A
stochastic estimator of the trace of the influence matrix"). The expected value of z^T H
z is tr H. The variance of z^T H z is 2 sum_{i != j} H_ij^2. This is the smallest
variance for independent entries with mean 0 and variance 1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.lanczos import largest_eigenvalue
from trainables.probes.landscape import SAMPLES, Landscape
from trainables.probes.measure import landscape_probe
from trainables.randomness import generator

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Largest residual bound of an eigenvalue, relative to the eigenvalue.

The error of the eigenvalue is much smaller than this bound (see `lanczos`).
"""

STEPS = 300
"""The maximum number of Lanczos steps for one eigenvalue."""


@landscape_probe(
    unit="nats", source="Lyle et al. 2023 (arXiv 2303.01486)", also_before=True
)
def sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Largest eigenvalue of the Hessian of the mean loss.

    The Lanczos method computes the eigenvalue with a relative error of at most
    `TOLERANCE`. If Lanczos does not converge, the value is NaN. Lyle et al. 2023
    observe that this eigenvalue grows from task to task when a network loses
    plasticity.

    Products of the Hessian and a vector use the network's dtype, because float64 would
    take twice the time. Lanczos keeps its coefficients in float64. If the hidden layers
    are 100-100-100, Lanczos takes 8 to 20 products of about 6 ms each on a CPU. The
    error is then 1e-6 to 1e-5.
    """
    hessian, inputs = landscape.hessian, landscape.inputs
    vectors = [
        generator("lanczos", seed, landscape.task).standard_normal(hessian.size)
        for seed in landscape.seeds
    ]
    start = torch.from_numpy(np.stack(vectors)).to(inputs.device, inputs.dtype)
    return largest_eigenvalue(hessian.product, start, TOLERANCE[inputs.dtype], STEPS)


@landscape_probe(unit="nats", source="Hutchinson 1990")
def hessian_trace(landscape: Landscape) -> Float[Tensor, " S"]:
    """Estimated sum of the Hessian's eigenvalues.

    The sum of the eigenvalues is the trace of the Hessian H. The estimate is the mean
    of z^T H z over 10 random vectors z, whose entries are +1 or -1. It is unbiased.
    """
    return landscape.quadratic_forms.mean(dim=1)


@landscape_probe(unit="nats", source="Hutchinson 1990")
def hessian_trace_error(landscape: Landscape) -> Float[Tensor, " S"]:
    """Standard error of hessian_trace.

    hessian_trace is the mean of z^T H z over 10 random vectors z. Its standard error is
    s / sqrt(10), where s is the standard deviation of the 10 values of z^T H z.
    """
    return landscape.quadratic_forms.std(dim=1) / math.sqrt(SAMPLES)
