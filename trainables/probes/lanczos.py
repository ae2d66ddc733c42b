r"""The Lanczos method: the largest eigenvalue of each symmetric matrix of a stack.

After k steps A V_k = V_k T_k + beta_k v_{k+1} e_k^T, where V_k is orthonormal and T_k
is tridiagonal. If T_k s = theta s, then for y = V_k s

    ||A y - theta y|| = |beta_k s_k|

so that the distance from theta to an eigenvalue of A is at most this bound (Parlett
1998, "The symmetric eigenvalue problem", sec. 13.2). theta is the maximum of the
Rayleigh quotient over the Krylov space, and so never above the largest eigenvalue. Its
error is about the square of the bound, divided by the gap to the next eigenvalue. Every
new vector is orthogonalised twice against all earlier vectors (ibid., sec. 6.9),
because otherwise copies of converged eigenvalues appear. Unlike power iteration, the
method also works if an eigenvalue below 0 has the largest magnitude.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

ROOM = 32
"""Initial capacity of the basis in vectors. It is doubled when the basis is full."""


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor],
    start: Float[Tensor, "S P"],
    tolerance: float,
    most: int,
) -> Float64[Tensor, " S"]:
    """Return the largest (algebraic) eigenvalue of each matrix.

    The seeds converge independently: the value of a seed is from the first step in
    which its bound was within the tolerance, even if other seeds need more steps.

    Args:
        product: Returns A v for each seed, from vectors v of shape (S, P).
        start: The first vectors, with any norm except 0. They should be random, so that
            they have a part along every eigenvector. The products have their dtype.
        tolerance: The largest residual bound, relative to the eigenvalue.
        most: The maximum number of steps. P steps are enough for any matrix.

    Returns:
        The eigenvalues, with NaN for a seed whose numbers were not finite or that had
        not converged after `most` steps.
    """
    seeds, size = start.shape
    most = min(most, size)
    eigenvalues = torch.full((seeds,), torch.nan, dtype=torch.float64)
    is_open = torch.ones(seeds, dtype=torch.bool)
    alphas, betas = [], []
    basis = start.new_empty(seeds, min(ROOM, most), size)
    vectors = start / start.norm(dim=1, keepdim=True)
    for step in range(most):
        if step == basis.shape[1]:
            basis = torch.cat([basis, torch.empty_like(basis)], dim=1)
        basis[:, step] = vectors
        rest, overlap = _orthogonalise(product(vectors), basis[:, : step + 1])
        length = rest.norm(dim=1, dtype=torch.float64)
        alphas.append(overlap.cpu())
        betas.append(length.cpu())
        value, bound, scale = _ritz(torch.stack(alphas, 1), torch.stack(betas, 1))
        # a bound below the rounding error of the products is as good as 0
        rounding = 4 * torch.finfo(start.dtype).eps * scale
        within = bound <= torch.maximum(tolerance * value.abs(), rounding)
        if step + 1 == size:
            within |= value.isfinite()
        eigenvalues = torch.where(is_open & within, value, eigenvalues)
        is_open &= ~within & value.isfinite()
        if not is_open.any():
            break
        vectors = rest / torch.where(length > 0, length, 1)[:, None].to(rest.dtype)
    return eigenvalues.to(start.device)


def _orthogonalise(
    vectors: Float[Tensor, "S P"], basis: Float[Tensor, "S k P"]
) -> tuple[Float[Tensor, "S P"], Float64[Tensor, " S"]]:
    """Return the vectors' part orthogonal to `basis`, and their overlap with its last.

    The overlap is the dot product with the last vector of the basis.
    """
    column = vectors[:, :, None]
    along = torch.zeros(len(vectors), dtype=torch.float64, device=vectors.device)
    for _ in range(2):
        overlap = torch.bmm(basis, column)
        column = torch.baddbmm(column, basis.mT, overlap, alpha=-1)
        along += overlap[:, -1, 0].double()
    return column[:, :, 0], along


def _ritz(
    alphas: Float64[Tensor, "S k"], betas: Float64[Tensor, "S k"]
) -> tuple[Float64[Tensor, " S"], Float64[Tensor, " S"], Float64[Tensor, " S"]]:
    """Return the largest Ritz value, the bound of its residual, and the norm of T.

    The value is NaN where a number is not finite, because `eigh` would raise an error.
    """
    finite = (alphas.isfinite() & betas.isfinite()).all(1)
    alphas, betas = (x.where(finite[:, None], 0) for x in (alphas, betas))
    off_diagonal = torch.diag_embed(betas[:, :-1], offset=1)
    tridiagonal = torch.diag_embed(alphas) + off_diagonal + off_diagonal.mT
    values, vectors = torch.linalg.eigh(tridiagonal)
    bound = (betas[:, -1] * vectors[:, -1, -1]).abs()
    return values[:, -1].where(finite, torch.nan), bound, values.abs().amax(dim=1)
