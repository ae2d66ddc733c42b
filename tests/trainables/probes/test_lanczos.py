"""Lanczos against matrices whose eigenvalues are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.probes.lanczos import Lanczos, largest_eigenvalue, quadrature


def with_eigenvalues(*values: float, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    square = torch.randn(len(values), len(values), generator=random).double()
    basis = torch.linalg.qr(square)[0]
    return basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.T


def largest(*matrices: Tensor, tolerance: float = 1e-8, most: int = 300) -> list[float]:
    stack = torch.stack(matrices)
    random = torch.Generator().manual_seed(1)
    start = torch.randn(1, stack.shape[1], generator=random).to(stack.dtype)
    lanczos = Lanczos(
        lambda v: (stack @ v[:, :, None])[:, :, 0], start.expand(len(stack), -1)
    )
    found = largest_eigenvalue(lanczos, tolerance, most)
    assert found.dtype == torch.float64
    return found.tolist()


SPECTRA = {
    "one number": [3.0],
    "both signs, nearly equal": [-1.0, -0.5, 0.2, 0.999],
    "the negative one is larger": [-50.0, 1.0, 0.5, 0.0],
    "all negative": [-3.0, -2.0, -1.0, -0.25],
    "all the same": [2.0] * 30,
    "of low rank": [7.0, -3.0] + [0.0] * 60,
    "none positive, and many 0": [-7.0, -3.0] + [0.0] * 60,
    "twice the largest": [5.0, 5.0, 1.0, -4.0, 0.5],
    "many": [float(i) / 10 - 8 for i in range(150)],
    "tiny": [1e-30, -2e-30, 0.5e-30],
    "huge": [1e30, -2e30, 0.5e30],
}


@pytest.mark.parametrize("name", SPECTRA)
def test_the_largest_of_a_known_spectrum(name):
    values = SPECTRA[name]
    (got,) = largest(with_eigenvalues(*values))
    scale = max(map(abs, values))
    assert got == pytest.approx(max(values), rel=1e-9, abs=1e-14 * scale)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_largest_in_float32(name):
    values = SPECTRA[name]
    (got,) = largest(with_eigenvalues(*values).float(), tolerance=1e-3)
    scale = max(map(abs, values))
    assert got == pytest.approx(max(values), rel=1e-4, abs=2e-6 * scale)


def test_of_nothing_it_is_0():
    assert largest(torch.zeros(20, 20)) == [0]


@given(
    st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=40),
    st.integers(0, 10**6),
)
def test_the_largest_of_any_spectrum(values, seed):
    (got,) = largest(with_eigenvalues(*values, seed=seed))
    scale = max(map(abs, values))
    assert got == pytest.approx(max(values), rel=1e-6, abs=1e-10 * scale)


def test_each_seed_has_its_own_convergence():
    """Whoever else is in the stack, broken, slow or done at once."""
    slow = with_eigenvalues(*(i / 100 for i in range(100)))
    quick = with_eigenvalues(*[100.0] + [0.0] * 99, seed=1)
    mixed = with_eigenvalues(*(float(i - 50) for i in range(100)), seed=2)
    broken, endless = torch.full_like(slow, torch.nan), torch.full_like(slow, torch.inf)
    nothing = torch.zeros_like(slow)
    stack = [broken, slow, nothing, quick, endless, mixed]
    for tolerance in (1e-1, 1e-8):
        together = largest(*stack, tolerance=tolerance)
        for matrix, value in zip(stack, together, strict=True):
            alone = largest(matrix, tolerance=tolerance)
            assert alone == pytest.approx([value], rel=1e-12, nan_ok=True)
    assert together[1:4:2] == pytest.approx([0.99, 100])
    assert (together[2], together[5]) == (0, pytest.approx(49))


def test_vectors_stay_orthogonal():
    """Or many more steps would be needed than there are eigenvalues.

    Strakos's spectrum (1991), negated: the large ones converge first, and without
    orthogonalisation come back again and again before the one nearest to 0.
    """
    size = 30
    spectrum = [-0.1 - i / (size - 1) * 99.9 * 0.7 ** (size - 1 - i) for i in range(30)]
    (got,) = largest(with_eigenvalues(*spectrum), tolerance=1e-10)
    assert got == pytest.approx(-0.1, rel=1e-9)


def test_what_becomes_infinite_on_the_way_harms_no_other():
    well = with_eigenvalues(3.0, 2.0, 1.0, 0.5, -1.0)
    calls = []

    def product(vectors: Tensor) -> Tensor:
        calls.append(1)
        result = vectors @ well
        if len(calls) == 3:
            result[0] = torch.inf
        return result

    start = torch.ones(2, 5, dtype=torch.float64) + torch.arange(5.0)
    sick, fine = largest_eigenvalue(Lanczos(product, start), 1e-8, 50).tolist()
    assert sick != sick
    assert fine == pytest.approx(3)


def test_what_has_not_converged_is_no_number():
    matrix = with_eigenvalues(*(i / 100 for i in range(100)))
    (early,) = largest(matrix, most=5)
    assert early != early


def test_the_bound_is_kept():
    """A looser tolerance gives a value that is off by no more than it."""
    matrix = with_eigenvalues(*(i / 300 for i in range(300)))
    exact = 299 / 300
    steps = []
    for tolerance in (1e-1, 1e-2, 1e-3):
        (got,) = largest(matrix, tolerance=tolerance)
        steps.append(exact - got)
        assert -1e-12 <= exact - got <= tolerance * exact
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] > 0


# ---- quadrature


@pytest.mark.parametrize("name", SPECTRA)
def test_the_nodes_of_all_steps_are_the_spectrum_seen_from_the_first_vector(name):
    """Below any bound lies the part of the vector along those eigenvectors."""
    matrix = with_eigenvalues(*SPECTRA[name])
    values, vectors = torch.linalg.eigh(matrix)
    start = torch.randn(1, len(values), generator=torch.Generator().manual_seed(2))
    start = start.double()
    nodes, weights = quadrature(Lanczos(lambda v: v @ matrix, start), 300)
    assert weights.sum().item() == pytest.approx(1)
    overlaps = (start @ vectors)[0].square() / start.square().sum()
    levels = values.unique()
    for bound in (levels[1:] + levels[:-1]) / 2:
        if (levels - bound).abs().min() < 1e-9 * values.abs().max():
            continue  # copies of one eigenvalue, apart by rounding errors
        expected = overlaps[values < bound].sum().item()
        got = weights[nodes < bound].sum().item()
        assert got == pytest.approx(expected, abs=1e-6)


def test_few_steps_have_the_first_moments_of_the_spectrum():
    """k steps integrate polynomials of degree 2 k - 1 exactly."""
    matrix = with_eigenvalues(*(float(i) / 50 - 1 for i in range(100)))
    start = torch.ones(1, 100, dtype=torch.float64)
    nodes, weights = quadrature(Lanczos(lambda v: v @ matrix, start), 4)
    assert nodes.shape == (1, 4)
    power = start / 10
    for degree in range(8):
        expected = (power @ start.T / 10).item()
        got = (weights * nodes**degree).sum().item()
        assert got == pytest.approx(expected, abs=1e-12), degree
        power = power @ matrix
