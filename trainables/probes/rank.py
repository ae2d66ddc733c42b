"""Ranks of the last hidden layer's activations A, of shape (examples, units).

All ranks except the participation ratio are computed in float64 from the singular
values sigma of A, which is not centred. A rank is 0 if every activation is 0. Otherwise
it lies between 1 and the rank of the matrix.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.measure import network_probe
from trainables.probes.snapshot import Snapshot, smaller_gram

SHARE = 0.99
"""1 - delta: the share of the sum that the counted singular values reach."""

TIE = 1e-9
"""Relative tolerance for rounding errors when a partial sum is compared."""


@network_probe(source="Roy & Vetterli 2007 (EUSIPCO)", also_before=True)
def effective_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """exp(entropy) of the singular values of the last hidden layer.

    It is exp(H(p)), where p are the singular values divided by their sum and the
    entropy H is in nats (Roy & Vetterli 2007, "The effective rank", def. 2.1).
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
    """Number of largest singular values that reach 99% of the sum of all.

    It is min{k: sum_{i<=k} sigma_i / sum_i sigma_i >= 1 - delta} with delta = 0.01,
    the effective rank of Kumar et al. 2021, sec. 3.
    """
    return _count_to_share(snapshot.spectrum.sqrt())


@network_probe(source="Yang et al. 2019 (arXiv 1909.12255)")
def approximate_rank(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Number of largest squared singular values that reach 99% of the sum of all.

    It is min{k: sum_{i<=k} sigma_i^2 / sum_i sigma_i^2 >= 0.99}, which is at most
    `srank`. Yang et al. 2019 define it, and Dohare et al. 2023 (arXiv 2306.13812) use
    it for representations.
    """
    return _count_to_share(snapshot.spectrum)


def _count_to_share(ascending: Tensor) -> Float[Tensor, " S"]:
    """Return how many of the largest values make up `SHARE` of the sum of all."""
    partial = ascending.flip(1).cumsum(dim=1)
    total = partial[:, -1]
    below = (partial < SHARE * total[:, None] * (1 - TIE)).sum(dim=1).double()
    return torch.where(total == 0, 0, below + 1).where(total.isfinite(), torch.nan)


@network_probe(source="Gao et al. 2017 (bioRxiv 214262)")
def participation_ratio(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """(tr C)^2 / tr(C^2), where C is the covariance of the last hidden layer's units.

    It is the number of directions in which the activations vary (Gao et al. 2017, "A
    theory of multineuronal dimensionality, dynamics and measurement"). The formula is
    from Chun et al. 2025 (arXiv 2509.26560), who write it with the eigenvalues of C.
    The activations are centred, unlike those of the other ranks. The ratio is 0 if no
    activation varies.
    """
    activations = snapshot.hidden[-1].double()
    # subtract the first example before the mean, so that a constant unit is exactly 0
    varying = activations - activations[:, :1]
    gram = smaller_gram(varying - varying.mean(dim=1, keepdim=True))
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    # divide by the trace, so that no square overflows or vanishes
    share = gram / torch.where(trace == 0, 1, trace)[:, None, None]
    return torch.where(trace == 0, 0, 1 / share.square().sum(dim=(1, 2)))
