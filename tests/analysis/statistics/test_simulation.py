"""The statistics, by simulation: what they promise they keep.

Trajectories are such as runs have: tasks that follow each other are correlated (AR(1)),
each seed has a slope of its own, and settings that share a seed share what it met.
"""

import numpy as np
import pytest

from analysis.comparing.winners import winner
from analysis.records.runs import Runs
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import METRICS
from analysis.statistics.paired import holm, paired_difference
from tests.support.synthetic import make_setting

TASKS, SLOPE = 40, -0.001
CORRELATED = 0.8
CHECKED = ("accuracy_change", "accuracy_slope", "plasticity_loss", "accuracy_area")


def autoregressive(rng, shape):
    """Return noise of unit variance whose last axis is correlated, task to task."""
    noise = rng.standard_normal((*shape, TASKS))
    for t in range(1, TASKS):
        noise[..., t] *= np.sqrt(1 - CORRELATED**2)
        noise[..., t] += CORRELATED * noise[..., t - 1]
    return noise


def draw(rng, *shape):
    """Return trajectories with slopes of their own, shape (*shape, TASKS)."""
    slopes = rng.normal(0, 5e-4, (*shape, 1))
    return slopes * np.arange(TASKS) + 0.01 * autoregressive(rng, shape)


def measure(name, values):
    """Return a metric of trajectories that lie along the last axis."""
    return METRICS[name](values.reshape(-1, TASKS)).reshape(values.shape[:-1])


def within(share, expected, count, errors=3.5):
    """Whether a share of so many studies is the expected one but for luck."""
    return abs(share - expected) < errors * np.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("name", CHECKED)
def test_intervals_hold_the_truth_as_often_as_they_say(name, seeds):
    studies = 2000
    mean = 0.9 + SLOPE * np.arange(TASKS)
    truth = METRICS[name](mean[None])[0]
    values = measure(name, mean + draw(np.random.default_rng(0), seeds, studies))
    _, lo, hi = mean_interval(values)
    assert within(((lo <= truth) & (truth <= hi)).mean(), 0.95, studies)


@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_of_differences_do_too(seeds):
    rng, studies = np.random.default_rng(1), 2000
    shared = 3 * draw(rng, seeds, studies)
    better = SLOPE * np.arange(TASKS)
    one, other = (shared + draw(rng, seeds, studies) for _ in range(2))
    found = paired_difference(
        measure("accuracy_slope", one - better), measure("accuracy_slope", other)
    )
    covered = ((found.lo <= -SLOPE) & (found.hi >= -SLOPE)).mean()
    assert within(covered, 0.95, studies)


def test_three_seeds_are_wide_and_not_wrong():
    values = measure("accuracy_slope", draw(np.random.default_rng(2), 10, 2000))
    wide, narrow = (mean_interval(values[:n]) for n in (3, 10))
    ratio = np.median(wide.hi - wide.lo) / np.median(narrow.hi - narrow.lo)
    # t(0.975; 2) / sqrt(3) over t(0.975; 9) / sqrt(10) is 3.5, and the median of s
    # over 3 seeds is lower than over 10
    assert 2.5 < ratio < 3.5
    assert within(((wide.lo <= 0) & (wide.hi >= 0)).mean(), 0.95, 2000)


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("name", ["accuracy_slope", "plasticity_loss"])
def test_without_an_effect_few_studies_find_one(name, seeds):
    rng, studies, settings = np.random.default_rng(3), 300, 20
    shared = draw(rng, seeds, studies, 1)
    values = measure(name, shared + draw(rng, seeds, studies, settings + 1))
    p = paired_difference(values[..., 1:], values[..., :1]).p
    wrong = np.mean([(holm(each) < 0.05).any() for each in p])
    allowed = 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
    assert wrong <= allowed
    assert (p < 0.05).any(axis=1).mean() > 0.2  # as many would without the correction
    assert within((p < 0.05).mean(), 0.05, studies)  # and each alone is right


def equal_settings(rng, count, seeds):
    """Return the runs of settings that are all the same but for luck."""
    return [
        Runs(
            study="none",
            setting_id=str(i),
            setting=make_setting(tasks=4),
            seeds=tuple(range(seeds)),
            matrix=0.9 + 0.01 * rng.standard_normal((seeds, 4)),
            diverged=(),
            incomplete=(),
        )
        for i in range(count)
    ]


def test_the_best_of_many_is_too_good_on_the_seeds_that_chose_it():
    rng, metric = np.random.default_rng(4), METRICS["mean_accuracy"]
    found = {"choosing": [], "confirming": []}
    parts = {"choosing": range(10), "confirming": range(10, 20)}
    for _ in range(200):
        base, *others = equal_settings(rng, 31, 20)
        best = winner(others, metric, parts["choosing"])
        for name, seeds in parts.items():
            pair = (metric(runs.select_seeds(seeds).matrix) for runs in (best, base))
            result = paired_difference(*pair)
            found[name].append((result.mean, result.p))
    mean, p = np.array(found["choosing"]).T
    assert mean.mean() > 20 * mean.std() / np.sqrt(200)  # though all are equal
    assert (p < 0.05).mean() > 0.12  # and more often "significant" than 1 in 20
    mean, p = np.array(found["confirming"]).T
    assert abs(mean.mean()) < 3 * mean.std() / np.sqrt(200)
    assert within((p < 0.05).mean(), 0.05, 200)
