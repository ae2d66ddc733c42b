"""Probes of rank: how many directions the last hidden layer's activations A use.

A has shape (examples, units). The participation ratio is computed from the covariance
of A. All other ranks are computed in float64 from the singular values sigma of A,
without centering A. If every activation is 0, these ranks are 0. Otherwise, they are
between 1 and the rank of A.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot, smaller_gram

SHARE = 0.99
"""The share of the total that the counted values must reach (1 - delta in `srank`)."""

TIE = 1e-9
"""Relative tolerance for rounding errors when a sum is compared with `SHARE`."""


@network_probe(source="Roy & Vetterli 2007 (EUSIPCO)", also_before=True)
def effective_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """exp(entropy) of the singular values of the last hidden layer.

    The value is exp(H(p)), where p are the singular values divided by their sum, and H
    is the entropy in nats (Roy & Vetterli 2007, "The effective rank", def. 2.1).
    """
    values = snapshot.spectrum.sqrt()
    total = values.sum(dim=1, keepdim=True)
    share = values / torch.where(total == 0, 1, total)
    entropy = -torch.xlogy(share, share).sum(dim=1)
    return torch.where(total.squeeze(1) == 0, 0, entropy.exp())


@network_probe(source="Rudelson & Vershynin 2007 (arXiv math/0503442)")
def stable_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """||A||_F^2 / ||A||_2^2, where A are the activations of the last hidden layer."""
    largest = snapshot.spectrum.amax(dim=1)
    return snapshot.spectrum.sum(dim=1) / torch.where(largest > 0, largest, 1)


@network_probe(source="Kumar et al. 2021 (arXiv 2010.14498)")
def srank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Smallest number of singular values with 99% of the sum of all.

    The value is the effective rank of Kumar et al. 2021, sec. 3, with delta = 0.01: the
    smallest k with sum_{i<=k} sigma_i / sum_i sigma_i >= 1 - delta, where the singular
    values sigma descend.
    """
    return _count_to_share(snapshot.spectrum.sqrt())


@network_probe(source="Yang et al. 2019 (arXiv 1909.12255)")
def approximate_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Smallest number of squared singular values with 99% of the sum of all.

    The value is the smallest k with sum_{i<=k} sigma_i^2 / sum_i sigma_i^2 >= 0.99,
    where the singular values sigma descend. It is at most `srank`. Dohare et al. 2023
    (arXiv 2306.13812) use this rank for representations.
    """
    return _count_to_share(snapshot.spectrum)


def _count_to_share(ascending: Tensor) -> Float[Tensor, " S"]:
    """Return how many of the largest values have at least `SHARE` of the sum of all.

    `ascending` has one row of values per seed. If all values of a seed are 0, the count
    is 0. If a value is not finite, the count is NaN.
    """
    partial = ascending.flip(1).cumsum(dim=1)
    total = partial[:, -1]
    below = (partial < SHARE * total[:, None] * (1 - TIE)).sum(dim=1).double()
    return torch.where(total == 0, 0, below + 1).where(total.isfinite(), torch.nan)


@network_probe(source="Gao et al. 2017 (bioRxiv 214262)")
def participation_ratio(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """(tr C)^2 / tr(C^2), where C is the covariance of the last hidden layer's units.

    The ratio measures in how many directions the activations vary (Gao et al. 2017, "A
    theory of multineuronal dimensionality, dynamics and measurement"). Chun et al. 2025
    (arXiv 2509.26560) give the same formula with the eigenvalues of C. Unlike the other
    ranks, this ratio uses centered activations. If every activation is constant, the
    ratio is 0.
    """
    activations = snapshot.hidden[-1].double()
    # first subtract the first example, so that a constant unit becomes exactly 0
    varying = activations - activations[:, :1]
    gram = smaller_gram(varying - varying.mean(dim=1, keepdim=True))
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    # divide by the trace, so that the squares stay in the range of float64
    share = gram / torch.where(trace == 0, 1, trace)[:, None, None]
    return torch.where(trace == 0, 0, 1 / share.square().sum(dim=(1, 2)))
