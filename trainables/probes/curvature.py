"""Curvature: the largest eigenvalue of the training loss's Hessian, and their sum.

The sum is the trace, estimated (Hutchinson 1990, "A stochastic estimator of the trace
of the influence matrix"): for z with independent entries +1 or -1, E[z^T H z] = tr H,
with variance 2 sum_{i != j} H_ij^2, the least of all such estimators.
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
"""Relative bound on the residual. The error is far smaller (see `lanczos`)."""

STEPS = 300
"""The most Lanczos steps."""


@landscape_probe(
    unit="nats", source="Lyle et al. 2023 (arXiv 2303.01486)", also_before=True
)
def sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Largest eigenvalue of the Hessian of the mean loss.

    NaN where it is not found. Lyle et al. 2023 see it grow with the tasks where
    plasticity is lost. Its error is at most `TOLERANCE`. Products are in the network's
    dtype, because float64 takes twice the time; the recurrence is in float64. For a
    network of 100-100-100 it takes 8 to 20 products of about 6 ms on a CPU, with an
    error of 1e-6 to 1e-5.
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
    """Sum of the Hessian's eigenvalues, estimated.

    The mean of z^T H z over 10 random z, an unbiased estimate of tr H.
    """
    return landscape.quadratic_forms.mean(dim=1)


@landscape_probe(unit="nats", source="Hutchinson 1990")
def hessian_trace_error(landscape: Landscape) -> Float[Tensor, " S"]:
    """Standard error of hessian_trace.

    s / sqrt(10), s the standard deviation of z^T H z.
    """
    return landscape.quadratic_forms.std(dim=1) / math.sqrt(SAMPLES)
