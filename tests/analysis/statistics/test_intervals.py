import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.intervals import mean_interval

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=20)


def test_a_textbook_interval():
    # s^2 = 2.5 and t(0.975; 4) = 2.776: half of it is 2.776 sqrt(2.5 / 5) = 1.963
    mean, lo, hi = mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert mean == 3
    assert hi - 3 == pytest.approx(1.963, abs=5e-4)
    assert 3 - lo == pytest.approx(1.963, abs=5e-4)


@given(values=VALUES)
def test_it_is_that_of_scipy_stats(values):
    values = np.array(values)
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    mean, lo, hi = mean_interval(values)
    assert mean == pytest.approx(values.mean(), abs=1e-12)
    assert hi - mean == pytest.approx(half, abs=1e-9)
    assert mean - lo == pytest.approx(half, abs=1e-9)


def test_95_of_100_intervals_hold_the_mean():
    runs = np.random.default_rng(0).normal(0.9, 0.05, (5, 20_000))
    _, lo, hi = mean_interval(runs)
    covered = ((lo <= 0.9) & (hi >= 0.9)).mean()
    assert covered == pytest.approx(0.95, abs=0.005)


def test_one_run_has_a_mean_and_no_interval():
    mean, lo, hi = mean_interval(np.array([[0.5, 0.25]]))
    assert mean.tolist() == [0.5, 0.25]
    assert np.isnan([lo, hi]).all()


def test_no_run_has_nothing():
    interval = mean_interval(np.empty((0, 3)))
    assert [part.shape for part in interval] == [(3,)] * 3
    assert np.isnan(interval).all()


@given(level=st.floats(-1, 1), runs=st.integers(2, 10))
def test_equal_runs_have_an_interval_of_no_width(level, runs):
    interval = mean_interval(np.full((runs, 2), level))
    assert [part.tolist() for part in interval] == [[level] * 2] * 3


@given(values=VALUES)
def test_each_place_has_the_interval_it_has_alone(values):
    both = np.stack([values, values[::-1]], axis=1)
    alone = mean_interval(np.array(values))
    for together, part in zip(mean_interval(both), alone, strict=True):
        assert together == pytest.approx(float(part), abs=1e-12)


def test_a_nan_is_not_hidden():
    assert np.isnan(mean_interval(np.array([0.5, np.nan, 0.7]))).all()
