"""Probes of the activity of hidden units: how many are dormant, and their signs.

A dormant unit has outputs of 0 or almost 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot

SOKAR = "Sokar et al. 2023 (arXiv 2302.12902)"
DEAD = f"Dohare et al. 2023 (arXiv 2306.13812); {SOKAR} with tau = 0"

TAU = 0.025
"""The largest ReDo score of a dormant unit (Sokar et al. 2023, sec. 4)."""


@network_probe(unit="fraction", source=DEAD, also_before=True)
def dormant_fraction(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Share of hidden units that are 0 on every probe example.

    The units of all hidden layers are counted together. Dohare et al. 2023 call these
    units dead. Sokar et al. 2023 call them dormant with the threshold tau = 0.
    """
    return torch.cat(_dead_units(snapshot), dim=1).mean(dim=1)


@network_probe(unit="fraction", source=DEAD, is_list=True)
def layer_dormant_fraction(snapshot: Snapshot) -> Float[Tensor, "S hidden"]:
    """dormant_fraction by hidden layer."""
    return torch.stack([units.mean(dim=1) for units in _dead_units(snapshot)], dim=1)


def _dead_units(snapshot: Snapshot) -> list[Float[Tensor, "S width"]]:
    """Return 1 for each unit that is always 0, else 0; one tensor per hidden layer."""
    # the largest magnitude is NaN, and not 0, if any output is NaN
    return [(layer.abs().amax(dim=1) == 0).double() for layer in snapshot.hidden]


@network_probe(unit="fraction", source=SOKAR)
def dormant_fraction_tau(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Share of hidden units whose ReDo score is at most 0.025.

    The ReDo score of unit i is its mean output divided by the mean output of its layer:
    mean_x |h_i(x)| / (mean over the layer's units k of mean_x |h_k(x)|). The mean over
    x is over the probe examples (Sokar et al. 2023, def. 3.1). If a layer is 0 on every
    example, all of its units are dormant. The units of all hidden layers are counted
    together.
    """
    dormant = []
    for layer in snapshot.hidden:
        activity = layer.abs().mean(dim=1, dtype=torch.float64)
        dormant.append(activity <= TAU * activity.mean(dim=1, keepdim=True))
    return torch.cat(dormant, dim=1).double().mean(dim=1)


@network_probe(
    unit="bits", source="Baveja et al. 2025 (arXiv 2509.19698)", also_before=True
)
def sign_entropy(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Mean over the hidden units of the entropy of the output's sign.

    A unit whose output is positive on a share p of the probe examples has the entropy
    -p log2 p - (1 - p) log2(1 - p). The entropy is 0 for a unit that is always active,
    and thus linear, and for a unit that is never active. It is 1 bit for a unit that is
    active on half of the examples. The units of all hidden layers are counted together.
    Baveja et al. call this unit-sign entropy, and find that it alone does not predict
    the loss of trainability.
    """
    shares = [(layer > 0).double().mean(dim=1) for layer in snapshot.hidden]
    p = torch.cat(shares, dim=1)
    nats: Tensor = torch.special.entr(p) + torch.special.entr(1 - p)
    return nats.mean(dim=1) / math.log(2)
