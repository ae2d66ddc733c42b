"""Dormant units: hidden units that never fire."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.probe import Probe


def dormant_fraction(probe: Probe) -> Float[Tensor, " S"]:
    """Return the fraction of hidden units that are 0 on every probe example.

    The tau = 0 case of Sokar et al. 2023 (arXiv 2302.12902); Dohare et al. 2023 call
    them dead. Over all hidden layers together, in [0, 1].
    """
    silent = [(layer == 0).all(dim=1) for layer in probe.hidden]
    return torch.cat(silent, dim=1).double().mean(dim=1)
