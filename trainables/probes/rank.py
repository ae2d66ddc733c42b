"""Ranks of the last hidden layer's activations A, of shape (examples, units).

All but the participation ratio come from the singular values sigma of A, not centred,
in float64. Each is 0 where every activation is 0; else it lies between 1 and the rank.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot

DELTA = 0.01
"""The share of the sum that `srank` and `approximate_rank` leave out."""

TIE = 1e-9
"""Tolerance for rounding when comparing cumulative shares."""


@network_probe(
    unit="",
    source="Roy & Vetterli 2007 (EUSIPCO)",
    meaning="exp(entropy) of the singular values of the last hidden layer",
    also_before=True,
)
def effective_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return exp(H(p)), p the singular values divided by their sum.

    Roy & Vetterli 2007, "The effective rank", def. 2.1, with H in nats.
    """
    values = snapshot.spectrum.sqrt()
    total = values.sum(dim=1, keepdim=True)
    share = values / torch.where(total == 0, 1, total)
    entropy = -torch.xlogy(share, share).sum(dim=1)
    return torch.where(total.squeeze(1) == 0, 0, entropy.exp())


@network_probe(
    unit="",
    source="Rudelson & Vershynin 2007 (arXiv math/0503442)",
    meaning="||A||_F^2 / ||A||_2^2, A the activations of the last hidden layer",
)
def stable_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return ||A||_F^2 / ||A||_2^2."""
    largest = snapshot.spectrum.amax(dim=1)
    return snapshot.spectrum.sum(dim=1) / torch.where(largest > 0, largest, 1)


@network_probe(
    unit="",
    source="Kumar et al. 2021 (arXiv 2010.14498)",
    meaning="largest singular values that sum to 99% of all",
)
def srank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return min{k: sum_{i<=k} sigma_i / sum_i sigma_i >= 1 - delta}, delta 0.01.

    The effective rank of Kumar et al. 2021, sec. 3; a whole number.
    """
    return _count_to(1 - DELTA, snapshot.spectrum.sqrt())


@network_probe(
    unit="",
    source="Yang et al. 2019 (arXiv 1909.12255)",
    meaning="largest squared singular values that sum to 99% of all",
)
def approximate_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return min{k: sum_{i<=k} sigma_i^2 / sum_i sigma_i^2 >= 0.99}.

    Defined by Yang et al. 2019, used of representations by Dohare et al. 2023 (arXiv
    2306.13812). A whole number, at most `srank`.
    """
    return _count_to(1 - DELTA, snapshot.spectrum)


def _count_to(share: float, ascending: Tensor) -> Float[Tensor, " S"]:
    """Return how many of the largest values sum to a share of the whole sum."""
    partial = ascending.flip(1).cumsum(dim=1)
    total = partial[:, -1:]
    below = (partial < share * total * (1 - TIE)).sum(dim=1).double()
    count = torch.where(total.squeeze(1) == 0, 0, below + 1)
    return count.where(total.squeeze(1).isfinite(), torch.nan)


@network_probe(
    unit="",
    source="Gao et al. 2017 (bioRxiv 214262)",
    meaning="(tr C)^2 / tr(C^2), C the covariance of the last hidden layer's units",
)
def participation_ratio(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return (tr C)^2 / tr(C^2), C the covariance of the units over the examples.

    The number of directions in which the activations vary (Gao et al. 2017, "A theory
    of multineuronal dimensionality, dynamics and measurement"). C is centred, unlike
    the matrix of the other ranks; the ratio is 0 where nothing varies.
    """
    wide = snapshot.hidden[-1].double()
    # subtract the first example before the mean: a constant unit is then exactly 0
    varying = wide - wide[:, :1]
    varying = varying - varying.mean(dim=1, keepdim=True)
    tall = wide.shape[1] >= wide.shape[2]
    gram = varying.mT @ varying if tall else varying @ varying.mT
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    # divide by the trace, so that no square overflows or vanishes
    share = gram / torch.where(trace == 0, 1, trace)[:, None, None]
    squares = share.square().sum(dim=(1, 2))
    return torch.where(trace == 0, 0, 1 / squares)
