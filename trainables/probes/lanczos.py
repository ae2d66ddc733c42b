r"""The Lanczos method: eigenvalues of each of S symmetric matrices.

Let A be one of the matrices. After k steps of the method,

    A V_k = V_k T_k + beta_k v_{k+1} e_k^T

where V_k has orthonormal columns and T_k is tridiagonal. Let theta be the largest
eigenvalue of T_k, with the unit eigenvector s, and let y = V_k s. Then

    ||A y - theta y|| = |beta_k s_k|

This number is the residual bound: A has an eigenvalue whose distance from theta is at
most this number (Parlett 1998, "The symmetric eigenvalue problem", sec. 13.2). theta is
never above the largest eigenvalue of A, because theta is the maximum of the Rayleigh
quotient over the span of the columns of V_k. The error of theta is about the square of
the bound, divided by the gap to the next eigenvalue.

Every new vector is orthogonalized against the last two vectors, and then against all
earlier vectors. Without rounding errors, the last two vectors would be enough. With
rounding errors, that alone would let copies of converged eigenvalues appear. Unlike
power iteration, the Lanczos method works even if a negative eigenvalue has the largest
magnitude.

The method also gives an estimate of the whole spectrum. Let weight_i be the squared
first entry of the eigenvector of T_k for its eigenvalue theta_i. For a function f, the
sum of weight_i f(theta_i) estimates v_1^T f(A) v_1. If v_1 is a random unit vector, and
P is the size of A, then P times the sum estimates the trace of f(A). This is stochastic
Lanczos quadrature (Ubaru, Chen & Saad 2017, "Fast estimation of tr(f(A)) via stochastic
Lanczos quadrature").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Float64
from torch import Tensor

ROOM = 32
"""The number of vectors that fit in the basis before its memory is doubled."""

Tridiagonal = tuple[Float64[Tensor, "S k"], Float64[Tensor, "S k"]]
"""For each seed, alpha_1 to alpha_k and beta_1 to beta_k.

T_k has the alphas on its diagonal and beta_1 to beta_{k-1} beside the diagonal.
"""


class Lanczos:
    """The Lanczos method for the matrices of S seeds.

    A step is computed when it is first needed, and kept for other functions. Each step
    computes one product per seed.
    """

    def __init__(
        self, product: Callable[[Tensor], Tensor], start: Float[Tensor, "S P"]
    ) -> None:
        """Store the arguments. Nothing is computed yet.

        Args:
            product: Takes one vector v per seed, of shape (S, P), and returns A v for
                the seed's matrix A.
            start: The first vector of each seed, of the dtype of the products. It must
                not be 0. It should be random, so that it has a part along every
                eigenvector.
        """
        self.seeds, self.size = start.shape
        self.dtype, self.device = start.dtype, start.device
        self._done: list[Tridiagonal] = []
        self._rest = _tridiagonals(product, start)

    def steps(self, most: int) -> Iterator[Tridiagonal]:
        """Yield T_k after each step k, for at most `most` steps and at most P steps."""
        for k in range(min(most, self.size)):
            if k == len(self._done):
                self._done.append(next(self._rest))
            yield self._done[k]


def largest_eigenvalue(
    lanczos: Lanczos, tolerance: float, most: int
) -> Float64[Tensor, " S"]:
    """Return the largest (most positive) eigenvalue of each seed's symmetric matrix.

    The result of a seed is from the first step in which the seed's residual bound is
    within the tolerance. So it does not depend on the steps that other seeds need.

    Args:
        lanczos: The Lanczos method for these matrices.
        tolerance: The largest residual bound, relative to the eigenvalue.
        most: The maximum number of steps. P steps are enough for any matrix.

    Returns:
        The eigenvalues. A seed's value is NaN if it has not converged after `most`
        steps, or if a number of the seed is not finite.
    """
    eigenvalues = torch.full((lanczos.seeds,), torch.nan, dtype=torch.float64)
    is_pending = torch.ones(lanczos.seeds, dtype=torch.bool)
    for alphas, betas in lanczos.steps(most):
        value, bound, scale = _largest(alphas, betas)
        # a bound below the rounding error of the products counts as converged
        rounding = 4 * torch.finfo(lanczos.dtype).eps * scale
        within = bound <= torch.maximum(tolerance * value.abs(), rounding)
        if alphas.shape[1] == lanczos.size:
            within |= value.isfinite()
        eigenvalues = torch.where(is_pending & within, value, eigenvalues)
        is_pending &= ~within & value.isfinite()
        if not is_pending.any():
            break
    return eigenvalues.to(lanczos.device)


def quadrature(
    lanczos: Lanczos, steps: int
) -> tuple[Float64[Tensor, "S k"], Float64[Tensor, "S k"]]:
    """Return nodes and weights that estimate the spectrum of each seed's matrix.

    The nodes are the eigenvalues of T_k after k = min(steps, P) steps. The weights of a
    seed sum to 1. If a number of a seed is not finite, the seed's nodes are NaN.
    """
    *_, last = lanczos.steps(steps)
    nodes, vectors = _ritz(*last)
    device = lanczos.device
    return nodes.to(device), vectors[:, 0].square().to(device)


def _tridiagonals(
    product: Callable[[Tensor], Tensor], start: Float[Tensor, "S P"]
) -> Iterator[Tridiagonal]:
    """Yield the `Tridiagonal` of each step, until all P steps are done."""
    seeds, size = start.shape
    alphas, betas = [], []
    basis = start.new_empty(seeds, min(ROOM, size), size)
    vectors = start / start.norm(dim=1, keepdim=True)
    for step in range(size):
        if step == basis.shape[1]:
            basis = torch.cat([basis, torch.empty_like(basis)], dim=1)
        basis[:, step] = vectors
        rest, overlap = _orthogonalize(product(vectors), basis[:, : step + 1])
        length = rest.norm(dim=1, dtype=torch.float64)
        alphas.append(overlap.cpu())
        betas.append(length.cpu())
        yield torch.stack(alphas, 1), torch.stack(betas, 1)
        vectors = rest / torch.where(length > 0, length, 1)[:, None].to(rest.dtype)


def _orthogonalize(
    vectors: Float[Tensor, "S P"], basis: Float[Tensor, "S k P"]
) -> tuple[Float[Tensor, "S P"], Float64[Tensor, " S"]]:
    """Return each vector's part orthogonal to its basis.

    Also return each vector's dot product with the last vector of its basis.
    """
    column = vectors[:, :, None]
    along = torch.zeros(len(vectors), dtype=torch.float64, device=vectors.device)
    for part in (basis[:, -2:], basis):
        overlap = torch.bmm(part, column)
        column = torch.baddbmm(column, part.mT, overlap, alpha=-1)
        along += overlap[:, -1, 0].double()
    return column[:, :, 0], along


def _largest(
    alphas: Float64[Tensor, "S k"], betas: Float64[Tensor, "S k"]
) -> tuple[Float64[Tensor, " S"], Float64[Tensor, " S"], Float64[Tensor, " S"]]:
    """Return the largest eigenvalue of each matrix T, its residual bound, and ||T||."""
    values, vectors = _ritz(alphas, betas)
    bound = (betas[:, -1] * vectors[:, -1, -1]).abs()
    return values[:, -1], bound, values.abs().amax(dim=1)


def _ritz(
    alphas: Float64[Tensor, "S k"], betas: Float64[Tensor, "S k"]
) -> tuple[Float64[Tensor, "S k"], Float64[Tensor, "S k k"]]:
    """Return the eigenvalues of each matrix T, ascending, and its eigenvectors.

    T is the tridiagonal matrix of the Lanczos method: see `Tridiagonal`. If a number of
    a seed is not finite, the seed's eigenvalues are NaN, because `eigh` would raise an
    error.
    """
    finite = (alphas.isfinite() & betas.isfinite()).all(1)[:, None]
    alphas, betas = (x.where(finite, 0) for x in (alphas, betas))
    off_diagonal = torch.diag_embed(betas[:, :-1], offset=1)
    tridiagonal = torch.diag_embed(alphas) + off_diagonal + off_diagonal.mT
    values, vectors = torch.linalg.eigh(tridiagonal)
    return values.where(finite, torch.nan), vectors
