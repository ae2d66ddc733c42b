"""Simultaneous bands: closed forms, and the coverage of whole curves by simulation."""

import numpy as np
import pytest
from scipy import special

from analysis.statistics.bands import _fit_correlation, simultaneous_band
from analysis.statistics.intervals import mean_interval


def fading(random, shape, correlation):
    """Return noise of unit variance, correlated by correlation ** distance."""
    noise = random.standard_normal(shape)
    for t in range(1, shape[-1]):
        noise[..., t] *= np.sqrt(1 - correlation**2)
        noise[..., t] += correlation * noise[..., t - 1]
    return noise


def seed_and_noise(random, shape):
    """Return runs with a level of their own, drift and noise of each task."""
    level = random.standard_normal((shape[0], 1))
    return 0.6 * level + 0.6 * fading(random, shape, 0.8) + random.normal(0, 0.5, shape)


def slopes(random, shape):
    """Return runs with a slope of their own: they agree most in the middle."""
    t = np.linspace(-1, 1, shape[1])
    return random.standard_normal((shape[0], 1)) * t + 0.5 * fading(random, shape, 0.8)


def rough(random, shape):
    """Return tasks whose standard deviations differ without any order."""
    size = np.exp(0.4 * np.random.default_rng(5).standard_normal(shape[1]))
    return size * fading(random, shape, 0.8)


CURVES = {
    "independent": lambda random, shape: random.standard_normal(shape),
    "fading": lambda random, shape: fading(random, shape, 0.9),
    "smooth": lambda random, shape: fading(random, shape, 0.99),
    "seed and noise": seed_and_noise,
    "slopes": slopes,
    "rough": rough,
    "heavy tails": lambda random, shape: random.standard_t(5, shape),
}


SEVERAL = ("independent", "fading", "seed and noise")

SIZES = [
    *[(name, 5, 20) for name in CURVES],
    *[(name, runs, tasks) for name in SEVERAL for runs, tasks in ((10, 20), (5, 100))],
]


QUICK = ("fading", 5, 20)  # it fails if fading is taken for a part that all tasks share


@pytest.mark.parametrize(
    ("name", "runs", "tasks"),
    [
        pytest.param(*size, marks=[] if size == QUICK else pytest.mark.chaos)
        for size in SIZES
    ],
)
def test_the_whole_curve_lies_inside_as_often_as_promised(name, runs, tasks):
    random, studies = np.random.default_rng(1), 150
    truth = 0.3 * np.sin(np.arange(tasks))
    covered = 0
    for _ in range(studies):
        _, lo, hi = simultaneous_band(truth + CURVES[name](random, (runs, tasks)))
        covered += bool(np.all((lo <= truth) & (truth <= hi)))
    # 95% and 3 standard errors, of 1.8%; at most 148 of 150
    assert 0.895 < covered / studies < 0.99


def test_intervals_of_each_task_do_not_contain_the_whole_curve():
    random, studies = np.random.default_rng(2), 300
    covered = 0
    for _ in range(studies):
        _, lo, hi = mean_interval(fading(random, (10, 100), 0.9))
        covered += bool(np.all((lo <= 0) & (hi >= 0)))
    assert covered / studies < 0.5


@pytest.mark.parametrize("runs", [2, 3, 10])
def test_a_single_task_has_the_t_interval(runs):
    values = np.random.default_rng(3).normal(5, 1, (runs, 1))
    for got, expected in zip(
        simultaneous_band(values), mean_interval(values), strict=True
    ):
        assert got == pytest.approx(expected)


def test_tasks_that_are_all_alike_have_the_t_interval():
    values = np.repeat(np.random.default_rng(4).normal(0, 1, (6, 1)), 50, axis=1)
    width, expected = (
        band.hi - band.lo for band in (simultaneous_band(values), mean_interval(values))
    )
    assert width == pytest.approx(expected, rel=0.1)


def test_independent_tasks_have_the_width_of_sidak():
    runs, tasks = 10, 400
    values = np.random.default_rng(5).standard_normal((runs, tasks))
    band = simultaneous_band(values)
    got = (band.hi - band.mean) * np.sqrt(runs) / values.std(axis=0, ddof=1)
    sidak = special.stdtrit(runs - 1, (1 + 0.95 ** (1 / tasks)) / 2)
    assert got == pytest.approx(np.full(tasks, sidak), rel=0.1)


def test_the_unit_the_order_of_runs_and_the_mean_do_not_matter():
    values = np.random.default_rng(6).standard_normal((5, 30)).cumsum(axis=1)
    mean, lo, hi = simultaneous_band(values)
    assert np.array_equal(simultaneous_band(values), (mean, lo, hi))
    for other in (values[::-1], 100 * values / 100, values + 7 - 7):
        assert np.allclose(simultaneous_band(other), (mean, lo, hi))
    assert np.allclose(simultaneous_band(100 * values + 3).lo, 100 * lo + 3)
    assert np.allclose(simultaneous_band(-values), (-mean, -hi, -lo))


def test_a_band_is_at_least_as_wide_as_the_intervals():
    values = np.random.default_rng(7).standard_normal((4, 30))
    band, each = simultaneous_band(values), mean_interval(values)
    assert (band.lo <= each.lo).all()
    assert (band.hi >= each.hi).all()


def test_tasks_without_variation_or_with_nan_do_not_count():
    values = np.random.default_rng(8).standard_normal((5, 12))
    mean, lo, hi = simultaneous_band(values)
    more = np.insert(values, 0, 3.0, axis=1)
    more = np.append(more, np.full((5, 1), np.nan), axis=1)
    more[1:, -1] = 1.0
    wide = simultaneous_band(more)
    assert [end[0] for end in wide] == [3, 3, 3]
    assert np.isnan([end[-1] for end in wide]).all()
    for got, expected in zip(wide, (mean, lo, hi), strict=True):
        assert got[1:-1] == pytest.approx(expected)


def test_one_run_has_no_band():
    mean, lo, hi = simultaneous_band(np.array([[1.0, 2.0]]))
    assert mean.tolist() == [1, 2]
    assert np.isnan([lo, hi]).all()
    assert np.isnan(simultaneous_band(np.empty((0, 2)))).all()


def test_the_fit_finds_the_parts():
    k = np.arange(60)
    truth = 0.3 + 0.5 * np.exp(-k / 5.0)
    truth[0] = 1
    parts = _fit_correlation(truth)
    fit = parts.shared + parts.fading * parts.decay**k
    fit[0] += 1 - parts.shared - parts.fading
    assert fit == pytest.approx(truth, abs=0.03)
    # correlations below 0 count as none
    parts = _fit_correlation(np.array([1, -0.5, -0.4]))
    assert (parts.shared, parts.fading) == (0, 0)
