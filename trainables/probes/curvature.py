"""Curvature: the largest eigenvalue and the trace of the Hessian of the training loss.

The trace is estimated with random vectors z whose entries are independently +1 or -1
(Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix"). Then
E[z^T H z] = tr H. The variance, 2 sum_{i != j} H_ij^2, is the smallest that independent
entries of mean 0 and variance 1 can give.
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
"""Relative bound on the residual. The error is much smaller (see `lanczos`)."""

STEPS = 300
"""The maximum number of Lanczos steps."""


@landscape_probe(
    unit="nats", source="Lyle et al. 2023 (arXiv 2303.01486)", also_before=True
)
def sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Largest eigenvalue of the Hessian of the mean loss.

    It is NaN if Lanczos does not converge. Lyle et al. 2023 observe that the eigenvalue
    grows from task to task where plasticity is lost. The error is at most `TOLERANCE`.
    Products are in the network's dtype, because float64 would take twice the time; the
    recurrence is in float64. With hidden layers 100-100-100, Lanczos takes 8 to 20
    products of about 6 ms each on a CPU, and the error is 1e-6 to 1e-5.
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

    It is the mean of z^T H z over 10 random z, an unbiased estimate of tr H.
    """
    return landscape.quadratic_forms.mean(dim=1)


@landscape_probe(unit="nats", source="Hutchinson 1990")
def hessian_trace_error(landscape: Landscape) -> Float[Tensor, " S"]:
    """Standard error of hessian_trace.

    It is s / sqrt(10), where s is the standard deviation of z^T H z.
    """
    return landscape.quadratic_forms.std(dim=1) / math.sqrt(SAMPLES)
