"""Ranks of the last hidden layer's activations A, of shape (examples, units).

All but the participation ratio come from the singular values sigma of A, not centred,
in float64. Each is 0 where every activation is 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.probe import Probe

DELTA = 0.01
"""The share that `srank` and `approximate_rank` leave out."""

TIE = 1e-9
"""A share that is reached but for this much of it is reached: it lacks by rounding."""


def effective_rank(probe: Probe) -> Float[Tensor, " S"]:
    """Return exp(H(p)), p the singular values divided by their sum.

    Roy & Vetterli 2007, "The effective rank", def. 2.1, with H in nats. Between 1 and
    the rank; 0 where every activation is 0.
    """
    values = probe.spectrum.sqrt()
    total = values.sum(dim=1, keepdim=True)
    share = values / torch.where(total == 0, 1, total)
    entropy = -torch.xlogy(share, share).sum(dim=1)
    return torch.where(total.squeeze(1) == 0, 0, entropy.exp())


def stable_rank(probe: Probe) -> Float[Tensor, " S"]:
    """Return ||A||_F^2 / ||A||_2^2 (Rudelson & Vershynin 2007, arXiv math/0503442).

    Between 1 and the rank; 0 where every activation is 0.
    """
    largest = probe.spectrum.amax(dim=1)
    return probe.spectrum.sum(dim=1) / torch.where(largest > 0, largest, 1)


def srank(probe: Probe) -> Float[Tensor, " S"]:
    """Return min{k: sum_{i<=k} sigma_i / sum_i sigma_i >= 1 - delta}, delta 0.01.

    The effective rank of Kumar et al. 2021 (arXiv 2010.14498, sec. 3); a whole number,
    between 1 and the rank; 0 where every activation is 0.
    """
    return _count_to(1 - DELTA, probe.spectrum.sqrt())


def approximate_rank(probe: Probe) -> Float[Tensor, " S"]:
    """Return min{k: sum_{i<=k} sigma_i^2 / sum_i sigma_i^2 >= 0.99}.

    Yang et al. 2019 (arXiv 1909.12255), used of representations by Dohare et al. 2023
    (arXiv 2306.13812). Squares: it is at most `srank`. A whole number, between 1 and
    the rank; 0 where every activation is 0.
    """
    return _count_to(1 - DELTA, probe.spectrum)


def _count_to(share: float, ascending: Tensor) -> Float[Tensor, " S"]:
    """Return how many of the largest values sum to a share of the whole sum."""
    reached = ascending.flip(1).cumsum(dim=1)
    total = reached[:, -1:]
    below = (reached < share * total * (1 - TIE)).sum(dim=1).double()
    count = torch.where(total.squeeze(1) == 0, 0, below + 1)
    return count.where(total.squeeze(1).isfinite(), torch.nan)


def participation_ratio(probe: Probe) -> Float[Tensor, " S"]:
    """Return (tr C)^2 / tr(C^2), C the covariance of the units over the examples.

    How many directions the activations vary in (Gao et al. 2017, "A theory of
    multineuronal dimensionality, dynamics and measurement"). Between 1 and the rank of
    C; 0 where nothing varies. C is centred, unlike the matrix of the other ranks.
    """
    wide = probe.hidden[-1].double()
    # off the first example first: what is constant is then exactly 0
    varying = wide - wide[:, :1]
    varying = varying - varying.mean(dim=1, keepdim=True)
    tall = wide.shape[1] >= wide.shape[2]
    gram = varying.mT @ varying if tall else varying @ varying.mT
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    # in units of the trace, so that nothing is too large or too small to be squared
    share = gram / torch.where(trace == 0, 1, trace)[:, None, None]
    squares = share.square().sum(dim=(1, 2))
    return torch.where(trace == 0, 0, 1 / squares)
