"""Singular values of a stack of matrices, which all ranks come from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def squared_singular_values(
    matrix: Float[Tensor, "S n width"],
) -> Float[Tensor, "S least"]:
    """Return the squares of each matrix's singular values, ascending, in float64.

    They are the eigenvalues of the smaller of A A^T and A^T A: much cheaper than a
    singular value decomposition, and batched over the seeds. Singular values below
    about 1e-7 of the largest are rounding, and count 0. NaN for a matrix that is not
    finite, of which `eigvalsh` would make an error.
    """
    wide = matrix.double()
    tall = wide.shape[1] >= wide.shape[2]
    gram = wide.mT @ wide if tall else wide @ wide.mT
    finite = gram.isfinite().all(2).all(1)[:, None]
    squares: Tensor = torch.linalg.eigvalsh(gram.where(finite[:, None], 0))
    rounding = max(matrix.shape[1:]) * torch.finfo(gram.dtype).eps
    real = squares > rounding * squares.amax(dim=1, keepdim=True)
    return squares.where(real, 0).where(finite, torch.nan)
