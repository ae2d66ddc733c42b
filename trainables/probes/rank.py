"""Ranks of the last hidden layer's activations A, of shape (examples, units).

Both come from the singular values, and those from the eigenvalues of the smaller of
A A^T and A^T A in float64: much cheaper than a singular value decomposition, and
batched over the seeds. Below about 1e-7 of the largest they are rounding, and count 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.probes.probe import Probe


def effective_rank(probe: Probe) -> Float[Tensor, " S"]:
    """Return exp(H(p)), p the singular values divided by their sum.

    Roy & Vetterli 2007, "The effective rank", def. 2.1, with H in nats. Between 1 and
    the rank; 0 where every activation is 0.
    """
    values = squared_singular_values(probe.hidden[-1]).sqrt()
    total = values.sum(dim=1, keepdim=True)
    share = values / torch.where(total == 0, 1, total)
    entropy = -torch.xlogy(share, share).sum(dim=1)
    return torch.where(total.squeeze(1) == 0, 0, entropy.exp())


def stable_rank(probe: Probe) -> Float[Tensor, " S"]:
    """Return ||A||_F^2 / ||A||_2^2 (Rudelson & Vershynin 2007, arXiv math/0503442).

    Between 1 and the rank; 0 where every activation is 0.
    """
    squares = squared_singular_values(probe.hidden[-1])
    largest = squares.amax(dim=1)
    return squares.sum(dim=1) / torch.where(largest > 0, largest, 1)


def squared_singular_values(
    matrix: Float[Tensor, "S n width"],
) -> Float[Tensor, "S least"]:
    """Return the squares of each matrix's singular values, in float64.

    NaN for a matrix that is not finite, of which `eigvalsh` would make an error.
    """
    wide = matrix.double()
    tall = wide.shape[1] >= wide.shape[2]
    gram = wide.mT @ wide if tall else wide @ wide.mT
    finite = gram.isfinite().all(2).all(1)[:, None]
    squares: Tensor = torch.linalg.eigvalsh(gram.where(finite[:, None], 0))
    rounding = max(matrix.shape[1:]) * torch.finfo(gram.dtype).eps
    real = squares > rounding * squares.amax(dim=1, keepdim=True)
    return squares.where(real, 0).where(finite, torch.nan)
