import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gamma

from analysis.statistics.intervals import mean_interval
from analysis.statistics.paired import holm, paired_difference

PAIRS = st.lists(
    st.tuples(st.floats(-1, 1, width=16), st.floats(-1, 1, width=16)),
    min_size=3,
    max_size=12,
).map(np.array)
P = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_a_textbook_test():
    # d = 1, 2, 3, 4, 5: m = 3, s^2 = 2.5, t = 3 / sqrt(2.5 / 5) = 4.243, f = 4
    found = paired_difference(np.array([2.0, 4, 6, 8, 10]), np.array([1.0, 2, 3, 4, 5]))
    assert found.mean == 3
    assert found.hi - 3 == pytest.approx(1.963, abs=5e-4)
    assert found.p == pytest.approx(0.01324, abs=5e-5)
    correction = gamma(2) / (np.sqrt(2) * gamma(1.5))
    assert found.effect == pytest.approx(correction * 3 / np.sqrt(2.5))


@given(pairs=PAIRS)
def test_it_is_the_paired_test_of_scipy_stats(pairs):
    one, other = pairs.T
    if np.ptp(one - other) < 1e-3:
        return
    found, expected = paired_difference(one, other), stats.ttest_rel(one, other)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    lo, hi = expected.confidence_interval()
    assert (found.lo, found.hi) == (pytest.approx(lo), pytest.approx(hi))


@given(pairs=PAIRS)
def test_the_other_way_round_it_is_the_opposite(pairs):
    one, other = pairs.T
    there, back = paired_difference(one, other), paired_difference(other, one)
    assert back.mean == pytest.approx(-there.mean, abs=1e-12)
    assert back.p == pytest.approx(float(there.p), nan_ok=True)
    assert back.effect == pytest.approx(-float(there.effect), nan_ok=True)


def test_the_effect_is_right_on_average():
    values = np.random.default_rng(0).normal(0.8, 1, (4, 40_000))
    corrected = paired_difference(values, np.zeros_like(values)).effect
    plain = values.mean(axis=0) / values.std(axis=0, ddof=1)
    error = 3 * corrected.std() / np.sqrt(40_000)
    assert corrected.mean() == pytest.approx(0.8, abs=error)
    assert plain.mean() > 1  # without the correction, a quarter too much


def test_one_pair_has_a_mean_and_nothing_else():
    found = paired_difference(np.array([0.5]), np.array([0.25]))
    assert found.mean == 0.25
    assert np.isnan([found.lo, found.hi, found.p, found.effect]).all()


def test_two_pairs_have_no_effect():
    found = paired_difference(np.array([0.5, 0.7]), np.array([0.25, 0.5]))
    assert np.isnan(found.effect)
    assert 0 < found.p < 1


def test_no_pair_has_nothing():
    assert np.isnan(paired_difference(np.empty(0), np.empty(0))).all()


@given(
    level=st.floats(-1, 1),
    step=st.sampled_from([0.0, 0.1, -0.3]),
    noise=st.lists(st.floats(0, 1), min_size=2, max_size=9),
)
def test_differences_that_do_not_vary_are_not_tested(level, step, noise):
    one = np.array(noise) + level
    found = paired_difference(one + step, one)
    assert found.mean == pytest.approx(step, abs=1e-12)
    assert found.hi - found.lo == pytest.approx(0, abs=1e-12)
    assert np.isnan([found.p, found.effect]).all()


def test_each_place_is_by_itself():
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 5, 3))
    together = paired_difference(one, other)
    for i in range(3):
        alone = paired_difference(one[:, i], other[:, i])
        assert [part[i] for part in together] == pytest.approx([*map(float, alone)])


def test_the_interval_and_the_test_agree():
    rng = np.random.default_rng(2)
    one, other = rng.normal(0.3, 1, (8, 500)), rng.normal(0, 1, (8, 500))
    found = paired_difference(one, other)
    assert np.array_equal(found.p < 0.05, (found.lo > 0) | (found.hi < 0))
    assert np.array_equal(found.lo, mean_interval(one - other).lo)


def test_holm_by_hand():
    # m = 4: 0.01 x 4, 0.02 x 3 = 0.06, 0.03 x 2 = 0.06, 0.04 x 1 raised to 0.06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).tolist() == []


@given(p=P)
def test_holm_lies_between_no_correction_and_bonferronis(p):
    corrected = holm(p)
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


@given(p=P)
def test_what_is_not_tested_does_not_count(p):
    with_holes = holm([np.nan, *p, np.nan])
    assert with_holes[1:-1] == pytest.approx(holm(p))
    assert np.isnan(with_holes[[0, -1]]).all()
