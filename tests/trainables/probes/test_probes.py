"""Probes against closed forms, and what they must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.networks.network import Network, initial_network
from trainables.probes import PROBES, Snapshot
from trainables.probes.dormant import (
    dormant_fraction,
    dormant_fraction_tau,
    layer_dormant_fraction,
    sign_entropy,
)
from trainables.probes.norms import (
    gradient_norm,
    initial_distance,
    layer_initial_distance,
    layer_update_norm,
    layer_weight_norm,
    update_norm,
    weight_norm,
)
from trainables.probes.rank import (
    approximate_rank,
    effective_rank,
    participation_ratio,
    srank,
    stable_rank,
)
from trainables.probes.snapshot import squared_singular_values

RANKS = [effective_rank, stable_rank, srank, approximate_rank, participation_ratio]
UNCENTRED = RANKS[:-1]
NETWORK = initial_network([4, 3, 2], [0], dtype=torch.float64)


def of(*hidden: Tensor, network: Network = NETWORK) -> Snapshot:
    return Snapshot(network, list(hidden), network, network, network)


def rank(measure, matrix: Tensor) -> float:
    return measure(of(matrix[None])).item()


def random_matrix(seed: int, n: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


MATRICES = st.builds(
    random_matrix, st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20)
)


@pytest.mark.parametrize("measure", [effective_rank, stable_rank])
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_the_rank_of_the_identity_is_its_size(measure, n):
    assert rank(measure, torch.eye(n)) == pytest.approx(n, rel=1e-12)


@pytest.mark.parametrize("measure", [srank, approximate_rank])
@pytest.mark.parametrize(("n", "expected"), [(1, 1), (7, 7), (100, 99), (200, 198)])
def test_of_equal_singular_values_99_in_100_are_counted(measure, n, expected):
    assert rank(measure, torch.eye(n)) == expected
    turned = torch.linalg.qr(random_matrix(0, n, n))[0]
    assert rank(measure, 3e-5 * turned) == expected


@pytest.mark.parametrize("shape", [(512, 100), (40, 5), (5, 40)])
def test_the_participation_ratio_of_a_covariance(shape):
    matrix = random_matrix(3, *shape)
    covariance = torch.cov(matrix.T)
    expected = covariance.trace() ** 2 / (covariance @ covariance).trace()
    got = rank(participation_ratio, matrix + 50)
    assert got == pytest.approx(expected.item(), rel=1e-9)


def test_directions_that_vary_alike_participate_alike():
    """Plus and minus each unit vector: C is a multiple of the identity."""
    matrix = torch.cat([torch.eye(6), -torch.eye(6)])
    assert rank(participation_ratio, matrix) == pytest.approx(6)
    matrix[:, 3] *= 100
    assert rank(participation_ratio, matrix) == pytest.approx(
        (1e4 + 5) ** 2 / (1e8 + 5)
    )


def test_what_does_not_vary_does_not_participate():
    same = torch.full((50, 3), 0.1, dtype=torch.float64) * torch.tensor([1, 2, 3])
    assert rank(participation_ratio, same) == 0


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


def test_the_counts_of_a_diagonal():
    matrix = torch.diag(torch.tensor([90.0, 8.0, 1.5, 0.4, 0.1]))
    assert rank(srank, matrix) == 3  # 98% and 99.5% of 100
    assert rank(approximate_rank, matrix) == 1  # 8100 of 8166.4 are 99.2%
    matrix[1, 1] = 10
    assert rank(approximate_rank, matrix) == 2  # 8100 of 8202.4 are 98.8%


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


@given(matrix=MATRICES, seed=st.integers(0, 10**6))
def test_participation_does_not_depend_on_the_units_basis_or_a_shift(matrix, seed):
    width = matrix.shape[1]
    right = torch.linalg.qr(random_matrix(seed, width, width))[0]
    shift = random_matrix(seed + 1, 1, width)
    expected = pytest.approx(rank(participation_ratio, matrix), rel=1e-6)
    assert rank(participation_ratio, matrix @ right + shift) == expected


@pytest.mark.parametrize("measure", UNCENTRED)
@given(matrix=MATRICES, seed=st.integers(0, 10**6))
def test_a_rank_does_not_depend_on_the_basis(measure, matrix, seed):
    n, width = matrix.shape
    left = torch.linalg.qr(random_matrix(seed, n, n))[0]
    right = torch.linalg.qr(random_matrix(seed + 1, width, width))[0]
    expected = pytest.approx(rank(measure, matrix), rel=1e-6)
    assert rank(measure, left @ matrix @ right) == expected


@given(matrix=MATRICES)
def test_ranks_lie_between_1_and_the_least_side(matrix):
    for measure in UNCENTRED:
        assert 1 - 1e-9 <= rank(measure, matrix) <= min(matrix.shape) * (1 + 1e-9)
    assert rank(approximate_rank, matrix) <= rank(srank, matrix)
    if len(matrix) > 1:
        most = min(len(matrix) - 1, matrix.shape[1])
        assert 1 - 1e-9 <= rank(participation_ratio, matrix) <= most * (1 + 1e-9)


@given(matrix=MATRICES, seed=st.integers(0, 10**6))
def test_no_probe_depends_on_the_order_of_units_or_examples(matrix, seed):
    generator = torch.Generator().manual_seed(seed)
    n, width = matrix.shape
    units = torch.randperm(width, generator=generator)
    examples = torch.randperm(n, generator=generator)
    on = matrix.relu()
    for name, measure in PROBES.items():
        expected = pytest.approx(measure(of(on[None])).tolist()[0], rel=1e-6, abs=1e-12)
        got = measure(of(on[examples][:, units][None])).tolist()[0]
        assert got == expected, name


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

    by_layer = layer_dormant_fraction(of(one, other))
    torch.testing.assert_close(
        by_layer, torch.tensor([[1 / 4, 2 / 6], [0, 0]]).double()
    )


def test_a_unit_that_hardly_fires_is_not_dormant():
    assert dormant_fraction(of(torch.full((1, 3, 2), 1e-30))).item() == 0


def test_a_unit_is_dormant_by_its_share_of_the_layers_mean():
    scores = torch.tensor([0.0249, 0.0251, 2.95], dtype=torch.float64)  # mean 1
    for layer in (scores.expand(1, 4, 3), -scores * torch.arange(5.0)[:, None] / 2):
        shaped = layer.reshape(1, -1, 3)
        assert dormant_fraction_tau(of(shaped)).item() == pytest.approx(1 / 3)
        assert dormant_fraction_tau(of(shaped[..., 1:])).item() == pytest.approx(1 / 2)
        assert dormant_fraction_tau(of(shaped[..., 2:])).item() == 0


def test_a_layer_that_is_silent_is_dormant_and_no_other_is_for_it():
    layers = [torch.zeros(1, 5, 3), torch.ones(1, 5, 9)]
    assert dormant_fraction_tau(of(*layers)).item() == pytest.approx(3 / 12)


@given(matrix=MATRICES, power=st.integers(-12, 12))
def test_dormancy_does_not_depend_on_a_layers_scale(matrix, power):
    one, other = matrix.relu()[None], torch.rand(1, len(matrix), 4).double()
    for measure in (dormant_fraction, dormant_fraction_tau):
        expected = measure(of(one, other)).item()
        assert measure(of(one * 10.0**power, other)).item() == expected
    silent, hardly = (
        measure(of(one, other)).item()
        for measure in (dormant_fraction, dormant_fraction_tau)
    )
    assert silent <= hardly


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_entropy_of_signs_is_a_bit_for_units_that_are_active_half_of_the_time(
    dtype,
):
    always, never = torch.ones(1, 8, 1, dtype=dtype), torch.zeros(1, 8, 1, dtype=dtype)
    half, quarter = always.clone(), never.clone()
    half[:, ::2] = -1
    quarter[:, :2] = 1e-3
    entropy = [sign_entropy(of(h)).item() for h in (always, never, half, quarter)]
    assert entropy == pytest.approx([0, 0, 1, 2 - 0.75 * math.log2(3)])
    layers = torch.cat([always, half], 2), torch.cat([never, half, half], 2)
    assert sign_entropy(of(*layers)).item() == pytest.approx(3 / 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_are_torchs(dtype):
    network = initial_network([30, 20, 5], [0, 1, 2], dtype=dtype)
    gradient = initial_network([30, 20, 5], [3, 4, 5], dtype=dtype)
    for bias in [*network.biases, *gradient.biases]:
        bias += 0.5
    probe = Snapshot(network, [], gradient, network, network)
    for measure, tensors in ((weight_norm, network), (gradient_norm, gradient)):
        got = measure(probe)
        assert got.dtype == torch.float64
        for seed in range(3):
            numbers = torch.cat([t[seed].flatten() for t in tensors.tensors()])
            expected = torch.linalg.vector_norm(numbers.double())
            assert got[seed].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances_are_norms_of_differences(dtype):
    network, first, before = (
        initial_network([30, 20, 5], [s, s + 1], dtype=dtype) for s in (0, 5, 9)
    )
    network.biases[0] += 0.25
    probe = Snapshot(network, [], network, first, before)
    for whole, parts, other in (
        (initial_distance, layer_initial_distance, first),
        (update_norm, layer_update_norm, before),
        (weight_norm, layer_weight_norm, network.zeros_like()),
    ):
        for seed in range(2):
            pairs = zip(network.tensors(), other.tensors(), strict=True)
            gone = [(a[seed].double() - b[seed].double()).flatten() for a, b in pairs]
            layers = [torch.cat([gone[i], gone[i + 2]]).norm().item() for i in (0, 1)]
            assert whole(probe)[seed].item() == pytest.approx(math.hypot(*layers))
            assert parts(probe)[seed].tolist() == pytest.approx(layers)
    still = Snapshot(network, [], network, network, network)
    assert initial_distance(still).tolist() == update_norm(still).tolist() == [0, 0]


def test_the_norm_of_large_numbers_is_finite():
    network = Network([torch.full((1, 3, 3), 1e30)], [torch.zeros(1, 1, 3)])
    assert weight_norm(of(network=network)).item() == pytest.approx(3e30)
