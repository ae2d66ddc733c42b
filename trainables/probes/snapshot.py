"""The input of a network probe: networks and their activations on probe examples."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trainables.networks.network import Network

EXAMPLES = 512
"""The number of probe examples. A small task has fewer: see `draw_probe_batch`."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The networks of S seeds before or after a task, as the input of network probes.

    Attributes:
        network: The networks of the S seeds.
        hidden: Activations of each hidden layer on the probe examples, (S, n, width).
        gradient: Gradient of the mean loss on the probe examples.
        initial: The networks before the first task.
        before: The networks before this task.
    """

    network: Network
    hidden: list[Tensor]
    gradient: Network
    initial: Network
    before: Network

    @functools.cached_property
    def spectrum(self) -> Float[Tensor, "S least"]:
        """Squared singular values of the last hidden layer's activations, ascending."""
        return squared_singular_values(self.hidden[-1])

    @functools.cached_property
    def squares(self) -> Float64[Tensor, "tensors S"]:
        """Each tensor's sum of squares, in the order of `Network.tensors`."""
        return sum_squares(self.network)

    @functools.cached_property
    def squares_from_initial(self) -> Float64[Tensor, "tensors S"]:
        """Each tensor's sum of squared changes since the first task began."""
        return sum_squares(self.network, self.initial)

    @functools.cached_property
    def squares_from_before(self) -> Float64[Tensor, "tensors S"]:
        """Each tensor's sum of squared changes since this task began."""
        return sum_squares(self.network, self.before)


def sum_squares(
    network: Network, origin: Network | None = None
) -> Float64[Tensor, "tensors S"]:
    """Return the sum of squares of each tensor, in float64.

    If `origin` is given, its tensors are first subtracted.
    """
    numbers = [tensor.double() for tensor in network.tensors()]
    if origin is not None:
        pairs = zip(numbers, origin.tensors(), strict=True)
        numbers = [tensor - start.double() for tensor, start in pairs]
    return torch.stack([tensor.square().sum((1, 2)) for tensor in numbers])


def squared_singular_values(
    matrix: Float[Tensor, "S n width"],
) -> Float[Tensor, "S least"]:
    """Return the squared singular values of each matrix, ascending, in float64.

    For a matrix A, they are the eigenvalues of A A^T or A^T A, whichever is smaller,
    which takes much less time than a singular value decomposition. Singular values
    below about 1e-7 of the largest one are rounding errors, and become 0. If a matrix
    is not finite, its values are NaN, because `eigvalsh` would raise an error.
    """
    gram = smaller_gram(matrix.double())
    finite = gram.isfinite().all(2).all(1)[:, None]
    # on the CPU: a GPU solves small eigenvalue problems one by one
    gram = gram.where(finite[:, None], 0)
    squares: Tensor = torch.linalg.eigvalsh(gram.cpu()).to(gram.device)
    rounding = max(matrix.shape[1:]) * torch.finfo(gram.dtype).eps
    real = squares > rounding * squares.amax(dim=1, keepdim=True)
    return squares.where(real, 0).where(finite, torch.nan)


def smaller_gram(matrix: Tensor) -> Tensor:
    """Return A^T A or A A^T for each matrix A, whichever is smaller."""
    is_tall = matrix.shape[1] >= matrix.shape[2]
    return matrix.mT @ matrix if is_tall else matrix @ matrix.mT
