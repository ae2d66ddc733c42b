"""Sharpness: the largest (algebraic) eigenvalue of the Hessian of the training loss.

Lyle et al. 2023 (arXiv 2303.01486) see it grow with the tasks where plasticity is lost.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.lanczos import largest_eigenvalue
from trainables.probes.landscape import Landscape
from trainables.randomness import generator

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Of the residual's bound, relative; the error is far less (see `lanczos`)."""

STEPS = 300
"""The most Lanczos steps."""


def sharpness(landscape: Landscape) -> Float[Tensor, " S"]:
    """Return the largest eigenvalue of the Hessian of the mean loss, in nats.

    The bound on its error is 1e-3 of it in float32, and 1e-7 in float64; NaN where
    that was not reached. Products are in the network's dtype (float64 would take twice
    the time), the recurrence in float64. On the real network (100-100-100) that is 8
    to 20 products of about 6 ms on a CPU, and an error of 1e-6 to 1e-5.
    """
    hessian = landscape.hessian
    drawn = [
        generator("lanczos", seed, landscape.task).standard_normal(hessian.size)
        for seed in landscape.seeds
    ]
    like = landscape.inputs
    start = torch.from_numpy(np.stack(drawn)).to(like.device, like.dtype)
    return largest_eigenvalue(hessian.product, start, TOLERANCE[like.dtype], STEPS)
