"""Probes against closed forms, and what they must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.network import Network, initial
from trainables.probes import PROBES, Probe
from trainables.probes.dormant import dormant_fraction
from trainables.probes.norms import gradient_norm, weight_norm
from trainables.probes.rank import effective_rank, squared_singular_values, stable_rank

RANKS = [effective_rank, stable_rank]
NETWORK = initial([4, 3, 2], [0], dtype=torch.float64)


def of(*hidden: Tensor, network: Network = NETWORK) -> Probe:
    return Probe(network, list(hidden), network)


def rank(measure, matrix: Tensor) -> float:
    return measure(of(matrix[None])).item()


def random_matrix(seed: int, n: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


MATRICES = st.builds(
    random_matrix, st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20)
)


@pytest.mark.parametrize("measure", RANKS)
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_the_rank_of_the_identity_is_its_size(measure, n):
    assert rank(measure, torch.eye(n)) == pytest.approx(n, rel=1e-12)


@pytest.mark.parametrize("measure", RANKS)
@pytest.mark.parametrize("shape", [(512, 100), (5, 100), (30, 30)])
def test_the_rank_of_an_outer_product_is_1(measure, shape):
    one, other = torch.rand(shape[0], 1), torch.rand(1, shape[1])
    matrix = one.double() @ other.double()
    assert rank(measure, matrix) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("measure", RANKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rank_of_nothing_is_0(measure, dtype):
    assert rank(measure, torch.zeros(7, 3, dtype=dtype)) == 0


def test_the_ranks_of_a_diagonal():
    matrix = torch.diag(torch.tensor([4.0, 2.0, 1.0, 1.0]))
    assert rank(stable_rank, matrix) == pytest.approx((16 + 4 + 1 + 1) / 16)
    # p = 1/2, 1/4, 1/8, 1/8: H = (1/2 + 2/4 + 3/8 + 3/8) log 2
    assert rank(effective_rank, matrix) == pytest.approx(2**1.75)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6), (1, 5), (5, 1)])
def test_singular_values_are_those_of_a_decomposition(shape):
    matrix = random_matrix(0, *shape)
    expected = torch.linalg.svdvals(matrix).square()
    got = squared_singular_values(matrix[None])[0].flip(0)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("measure", RANKS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_matrix_that_is_not_finite_harms_no_other(measure, value):
    sick = random_matrix(0, 8, 5)
    sick[2, 3] = value
    well = random_matrix(1, 8, 5)
    got = measure(of(torch.stack([sick, well])))
    assert math.isnan(got[0])
    assert got[1].item() == pytest.approx(rank(measure, well))


@pytest.mark.parametrize("measure", RANKS)
@given(matrix=MATRICES, power=st.integers(-12, 12))
def test_a_rank_does_not_depend_on_scale(measure, matrix, power):
    expected = pytest.approx(rank(measure, matrix), rel=1e-6)
    assert rank(measure, matrix * 10.0**power) == expected


@pytest.mark.parametrize("measure", RANKS)
@given(matrix=MATRICES, seed=st.integers(0, 10**6))
def test_a_rank_does_not_depend_on_the_basis(measure, matrix, seed):
    n, width = matrix.shape
    left = torch.linalg.qr(random_matrix(seed, n, n))[0]
    right = torch.linalg.qr(random_matrix(seed + 1, width, width))[0]
    expected = pytest.approx(rank(measure, matrix), rel=1e-6)
    assert rank(measure, left @ matrix @ right) == expected


@given(matrix=MATRICES)
def test_ranks_lie_between_1_and_the_least_side(matrix):
    stable, effective = (
        rank(measure, matrix) for measure in (stable_rank, effective_rank)
    )
    assert 1 - 1e-9 <= stable <= min(matrix.shape) * (1 + 1e-9)
    assert 1 - 1e-9 <= effective <= min(matrix.shape) * (1 + 1e-9)


@given(matrix=MATRICES, seed=st.integers(0, 10**6))
def test_no_probe_depends_on_the_order_of_units_or_examples(matrix, seed):
    generator = torch.Generator().manual_seed(seed)
    n, width = matrix.shape
    units = torch.randperm(width, generator=generator)
    examples = torch.randperm(n, generator=generator)
    on = matrix.relu()
    for name, measure in PROBES.items():
        expected = pytest.approx(rank(measure, on), rel=1e-6, abs=1e-12)
        assert rank(measure, on[examples][:, units]) == expected, name


def test_the_ranks_are_of_the_last_hidden_layer():
    last = random_matrix(0, 8, 5)[None]
    for measure in RANKS:
        got = measure(of(torch.zeros(1, 8, 3), last)).item()
        assert got == rank(measure, last[0])


def test_dormant_units_are_those_that_never_fire():
    one = torch.rand(2, 6, 4) + 0.1
    other = torch.rand(2, 6, 6) + 0.1
    assert dormant_fraction(of(one, other)).tolist() == [0, 0]
    one[0, :, 1] = 0
    other[0, :, [0, 5]] = 0
    other[1, :5, 3] = 0  # fires once
    assert dormant_fraction(of(one, other)).tolist() == pytest.approx([0.3, 0])
    assert dormant_fraction(of(one * 0, other * 0)).tolist() == [1, 1]


def test_a_unit_that_hardly_fires_is_not_dormant():
    assert dormant_fraction(of(torch.full((1, 3, 2), 1e-30))).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_are_torchs(dtype):
    network = initial([30, 20, 5], [0, 1, 2], dtype=dtype)
    gradient = initial([30, 20, 5], [3, 4, 5], dtype=dtype)
    for bias in [*network.biases, *gradient.biases]:
        bias += 0.5
    probe = Probe(network, [], gradient)
    for measure, tensors in ((weight_norm, network), (gradient_norm, gradient)):
        got = measure(probe)
        assert got.dtype == torch.float64
        for seed in range(3):
            numbers = torch.cat([t[seed].flatten() for t in tensors.tensors()])
            expected = torch.linalg.vector_norm(numbers.double())
            assert got[seed].item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_norm_of_large_numbers_is_finite():
    network = Network([torch.full((1, 3, 3), 1e30)], [torch.zeros(1, 1, 3)])
    assert weight_norm(of(network=network)).item() == pytest.approx(3e30)
