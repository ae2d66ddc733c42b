"""Sharpness: the largest (algebraic) eigenvalue of the Hessian of the training loss."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.lanczos import largest_eigenvalue
from trainables.probes.landscape import Landscape
from trainables.probes.measure import landscape_probe
from trainables.randomness import generator

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Relative bound on the residual. The error is far smaller (see `lanczos`)."""

STEPS = 300
"""The most Lanczos steps."""


@landscape_probe(
    unit="nats",
    source="Lyle et al. 2023 (arXiv 2303.01486)",
    meaning="largest eigenvalue of the Hessian of the mean loss",
    also_before=True,
)
def sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return the largest eigenvalue of the Hessian of the mean loss; NaN: not found.

    Lyle et al. 2023 see it grow with the tasks where plasticity is lost. Its error is
    at most `TOLERANCE`. Products are in the network's dtype, because float64 takes
    twice the time; the recurrence is in float64. For a network of 100-100-100 it takes
    8 to 20 products of about 6 ms on a CPU, with an error of 1e-6 to 1e-5.
    """
    hessian = landscape.hessian
    vectors = [
        generator("lanczos", seed, landscape.task).standard_normal(hessian.size)
        for seed in landscape.seeds
    ]
    like = landscape.inputs
    start = torch.from_numpy(np.stack(vectors)).to(like.device, like.dtype)
    return largest_eigenvalue(hessian.product, start, TOLERANCE[like.dtype], STEPS)
