import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import correlations
from analysis.statistics.correlations import (
    detrended_spearman,
    mean_correlation,
    spearman,
    trend_degree,
)

VALUES = st.lists(st.integers(0, 9), min_size=4, max_size=15)
CORRELATIONS = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


@given(VALUES, st.integers(0, 10**6))
def test_it_is_scipys(values, seed):
    x = np.array(values, dtype=float)
    y = np.random.default_rng(seed).integers(0, 6, len(x)).astype(float)
    got = spearman(x[None], y[None])[0]
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(got)
    else:
        assert got == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert spearman(np.exp(x)[None], 5 - y[None])[0] == pytest.approx(-got)


def test_positions_without_a_value_do_not_count():
    x = np.array([[1, np.nan, 2, 3, 4, 9.0], [1, 2, 3, np.nan, np.nan, np.nan]])
    y = np.array([[1, 7, 3, 2, np.nan, 5.0], [1, 2, 3, 4, 5, 6]])
    got = spearman(x, y)
    assert got[0] == pytest.approx(stats.spearmanr([1, 2, 3, 9], [1, 3, 2, 5])[0])
    assert np.isnan(got[1])  # three are too few


@pytest.mark.parametrize("points", [8, 15, 30])
def test_without_the_trend_it_is_the_correlation_of_the_residuals(points):
    random = np.random.default_rng(points)
    t = np.arange(points)
    x, y = t + random.normal(0, 4, points), -t + random.normal(0, 4, points)
    left = [
        ranks - np.polyval(np.polyfit(t, ranks, trend_degree(points)), t)
        for ranks in map(stats.rankdata, (x, y))
    ]
    expected = np.corrcoef(*left)[0, 1]
    assert detrended_spearman(x[None], y[None])[0] == pytest.approx(expected)
    # a position without a value is as if it were not there
    x, y = np.insert(x, 3, np.nan), np.insert(y, 3, 7)
    assert detrended_spearman(x[None], y[None])[0] == pytest.approx(expected)


@pytest.mark.parametrize("points", [4, 9, 40])
def test_the_trend_leaves_nothing_of_a_series_that_only_rises(points):
    random = np.random.default_rng(0)
    rises = np.sort(random.normal(0, 1, (1, points)))
    noise = random.normal(0, 1, (1, points))
    assert np.isnan(detrended_spearman(rises, noise)).all()
    assert np.isnan(detrended_spearman(noise, -(rises**3))).all()
    assert not np.isnan(spearman(rises, noise)).any()


@pytest.mark.parametrize("tasks", [10, 20, 100])
def test_drift_that_rises_and_falls_leaves_no_correlation(tasks, monkeypatch):
    """Two independent series rise and fall; a line off both leaves a correlation."""
    random, pairs = np.random.default_rng(1), 4000
    t = np.linspace(0, 1, tasks)
    hills = np.stack([np.sin(np.pi * t), np.sin(np.pi * t**1.3)])
    one, other = 1.5 * hills[:, None] + random.normal(0, 1, (2, pairs, tasks))
    assert abs(detrended_spearman(one, other).mean()) < 0.02
    monkeypatch.setattr(correlations, "DEGREE", 1)
    assert detrended_spearman(one, other).mean() > 0.13


@pytest.mark.parametrize("points", [8, 12, 40])
def test_a_relation_beside_the_trend_is_seen(points):
    random = np.random.default_rng(2)
    shared = random.normal(0, 1, (2000, points))
    trend = 3 * np.sin(np.linspace(0, np.pi, points))
    got = detrended_spearman(trend + shared, trend - shared)
    assert got.mean() < -0.7


def test_the_mean_is_by_fishers_z():
    values = np.array([0.9, 0.5, 0.8, np.nan])
    z = np.arctanh(values[:3])
    low, high = stats.t.interval(0.95, 2, z.mean(), stats.sem(z))
    expected = np.tanh([z.mean(), low, high])
    assert np.array(mean_correlation(values, 20)) == pytest.approx(expected)


@given(CORRELATIONS, st.integers(4, 100))
def test_intervals_stay_between_minus_one_and_one(values, points):
    mean, lo, hi = mean_correlation(np.array(values), points)
    assert -1 <= lo <= mean <= hi <= 1


def test_an_exact_correlation_counts_as_the_middle_to_the_next_smaller_one():
    exact = mean_correlation(np.array([1.0, 0.2, 0.4]), 4)
    swapped = stats.spearmanr([1, 2, 3, 4], [1, 2, 4, 3]).statistic
    middle = mean_correlation(np.array([(1 + swapped) / 2, 0.2, 0.4]), 4)
    assert np.array(exact) == pytest.approx(np.array(middle))
    assert mean_correlation(np.array([-1.0, -1.0]), 4) == (-1, -1, -1)


def test_few_runs_have_no_interval():
    mean, lo, hi = mean_correlation(np.array([0.4, np.nan]), 9)
    assert mean == 0.4
    assert np.isnan([lo, hi]).all()
    assert np.isnan(mean_correlation(np.array([np.nan]), 9)).all()


def test_intervals_cover_the_mean_correlation():
    """The target is the mean in z, of runs of 20 tasks with a true correlation."""
    random, studies, seeds, tasks = np.random.default_rng(3), 1500, 5, 20
    one = random.normal(0, 1, (studies * seeds, tasks))
    other = 0.8 * one + 0.6 * random.normal(0, 1, one.shape)
    correlations = spearman(one, other)
    truth = np.tanh(np.arctanh(correlations).mean())
    ends = [mean_correlation(each, tasks) for each in correlations.reshape(-1, seeds)]
    covered = np.mean([lo <= truth <= hi for _, lo, hi in ends])
    assert 0.93 < covered < 0.97
