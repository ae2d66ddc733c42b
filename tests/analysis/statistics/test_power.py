import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.paired import paired_difference
from analysis.statistics.power import (
    LEVEL,
    MOST_SEEDS,
    POWER,
    detectable_effect,
    is_equivalent,
    seeds_needed,
)


@pytest.mark.parametrize(("n", "effect"), [(10, 0.996), (20, 0.660), (34, 0.495)])
def test_the_detectable_effect_is_that_of_the_usual_tables(n, effect):
    assert detectable_effect(n) == pytest.approx(effect, abs=1e-3)


@pytest.mark.parametrize(("n", "tests"), [(3, 1), (5, 4), (10, 40)])
def test_a_detectable_effect_is_found_four_times_in_five(n, tests):
    count = 20_000
    rng = np.random.default_rng([n, tests])
    differences = rng.normal(detectable_effect(n, tests), 1, (n, count))
    p = paired_difference(differences, np.zeros_like(differences)).p
    error = np.sqrt(POWER * (1 - POWER) / count)
    assert (p < LEVEL / tests).mean() == pytest.approx(POWER, abs=4 * error)


def test_three_seeds_and_many_tests_detect_next_to_nothing():
    assert detectable_effect(3, 540) > 70
    assert detectable_effect(1) == np.inf


@given(n=st.integers(2, 60), tests=st.integers(1, 100))
def test_more_seeds_detect_less_and_more_tests_more(n, tests):
    effect = detectable_effect(n, tests)
    assert detectable_effect(n + 1, tests) < effect < detectable_effect(n, tests + 1)


@given(n=st.integers(2, 200), tests=st.sampled_from([1, 20]))
def test_the_seeds_needed_are_the_fewest_that_detect_it(n, tests):
    effect = detectable_effect(n, tests)
    assert seeds_needed(effect, tests) == n
    assert seeds_needed(effect * (1 - 1e-3), tests) > n


@pytest.mark.parametrize("effect", [0.0, -1.0, float("nan"), 0.01])
def test_what_no_number_of_seeds_finds_needs_none(effect):
    assert seeds_needed(effect) is None
    assert detectable_effect(MOST_SEEDS) > 0.01


@given(
    values=st.lists(st.floats(-1, 1), min_size=2, max_size=12),
    margin=st.floats(0.01, 1),
)
def test_equivalence_is_that_of_two_one_sided_tests(values, margin):
    differences = np.array(values)
    if np.ptp(differences) < 1e-3:
        return
    over = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    under = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    assert is_equivalent(differences, margin) == (max(over, under) < 0.05)


def test_a_difference_of_the_margin_is_seldom_called_the_same():
    count = 4000
    differences = np.random.default_rng(0).normal(0.5, 0.1, (count, 10))
    same = np.mean([is_equivalent(each, 0.5) for each in differences])
    assert same == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / count))


def test_fewer_than_two_pairs_show_nothing():
    assert not is_equivalent(np.array([0.0]), 1.0)
    assert not is_equivalent(np.array([]), 1.0)
