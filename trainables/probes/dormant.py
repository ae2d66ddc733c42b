"""Dormant units: hidden units that never fire, or hardly."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trainables.probes.probe import Probe

TAU = 0.025
"""The score up to which a unit is dormant: a choice of Sokar et al. 2023, sec. 4."""


def dormant_fraction(probe: Probe) -> Float[Tensor, " S"]:
    """Return the fraction of hidden units that are 0 on every probe example.

    The tau = 0 case of Sokar et al. 2023 (arXiv 2302.12902); Dohare et al. 2023 call
    them dead. Over all hidden layers together, in [0, 1].
    """
    return torch.cat(_silent(probe), dim=1).double().mean(dim=1)


def layer_dormant_fraction(probe: Probe) -> Float[Tensor, "S hidden"]:
    """Return the fraction of units that are 0 on every probe example, by layer."""
    return torch.stack([silent.double().mean(dim=1) for silent in _silent(probe)], 1)


def _silent(probe: Probe) -> list[Bool[Tensor, "S width"]]:
    return [(layer == 0).all(dim=1) for layer in probe.hidden]


def dormant_fraction_tau(probe: Probe) -> Float[Tensor, " S"]:
    """Return the fraction of hidden units whose score is at most tau = 0.025.

    s_i = mean_x |h_i(x)| / (mean over the layer's units k of mean_x |h_k(x)|), Sokar
    et al. 2023 (arXiv 2302.12902), def. 3.1. It does not depend on a layer's scale; in
    a layer that is silent altogether all units are dormant. Over all hidden layers
    together, in [0, 1].
    """
    dormant = []
    for layer in probe.hidden:
        firing = layer.abs().mean(dim=1, dtype=torch.float64)
        dormant.append(firing <= TAU * firing.mean(dim=1, keepdim=True))
    return torch.cat(dormant, dim=1).double().mean(dim=1)
