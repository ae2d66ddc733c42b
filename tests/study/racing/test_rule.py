"""Which settings of a race go on: closed forms, and races whose best is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from study.racing.rule import FIRST_SEEDS, judge, stages

TASKS = 40


def flat(level, seeds=3, done=TASKS):
    """Return a setting's accuracies: the same on all tasks, with a spread of seeds."""
    return np.tile(level + 0.01 * np.arange(seeds)[:, None], (1, done))


def noisy(level, seed, done=TASKS, seeds=3):
    return flat(level, seeds, done) + np.random.default_rng(seed).normal(
        0, 0.001, (seeds, done)
    )


@given(st.integers(2, 30))
def test_stages_train_ever_more_tasks_then_ever_more_seeds(count):
    seeds = tuple(range(5, 5 + count))
    all_stages = stages(seeds)
    assert all(stage.seeds == seeds[: len(stage.seeds)] for stage in all_stages)
    assert all(len(stage.seeds) >= FIRST_SEEDS for stage in all_stages)
    for earlier, later in itertools.pairwise(all_stages):
        assert len(earlier.seeds) <= len(later.seeds)
        assert earlier.share <= later.share
    assert (all_stages[-1].seeds, all_stages[-1].share) == (seeds, 1.0)
    for tasks in (1, 7, 45, 100):
        assert all(1 <= stage.tasks(tasks) <= tasks for stage in all_stages)
        assert all_stages[-1].tasks(tasks) == tasks


def test_what_is_clearly_worse_stops_and_says_by_how_much():
    reasons = judge([noisy(0.8, 0, 10), noisy(0.9, 1, 10), noisy(0.8995, 2, 10)], TASKS)
    assert reasons[1:] == [None, None]
    assert reasons[0].startswith("after 10 of 40 tasks with 3 seeds, its mean accuracy")
    assert "9.9" in reasons[0] or "10.0" in reasons[0]


def test_what_begins_low_and_catches_up_goes_on():
    done = 12
    late = noisy(0.8, 0, done) + 0.008 * np.arange(done)  # ahead from task 13 on
    assert judge([late, noisy(0.9, 1, done)], TASKS) == [None, None]
    # after the whole stream the same difference would be clear
    assert judge([late, noisy(0.9, 1, done)], done)[0] is not None


def test_what_is_ahead_and_falls_goes_on_too():
    done = 12
    falling = noisy(0.95, 0, done) - 0.004 * np.arange(done)
    assert judge([falling, noisy(0.9, 1, done)], TASKS) == [None, None]


@pytest.mark.parametrize("measure", ["mean_return", "value_error"])
def test_the_measure_says_which_side_is_better(measure):
    low, high = flat(0.8), flat(2.05)
    reasons = judge([low, high], TASKS, measure=measure)
    if measure == "value_error":
        assert reasons[0] is None
        assert reasons[1].endswith("its mean value error was 1.25 above the best")
    else:
        assert reasons[1] is None
        assert reasons[0].endswith("its mean return was 1.25 below the best")


def test_a_divergence_stops_a_setting_and_nothing_else():
    assert judge([None, flat(0.9)], TASKS) == ["a run diverged", None]
    assert judge([None, None], TASKS) == ["a run diverged"] * 2


@given(st.integers(1, 20), st.booleans(), st.integers(0, 1000))
def test_somebody_goes_on_and_nobody_wins_by_its_place(count, only_best, seed):
    random = np.random.default_rng(seed)
    values = [noisy(random.uniform(0.5, 0.9), int(i)) for i in range(count)]
    reasons = judge(values, TASKS, only_best=only_best)
    best = int(np.argmax([v.mean() for v in values]))
    assert reasons[best] is None
    left = sum(reason is None for reason in reasons)
    assert left == 1 if only_best else left <= max(1, np.ceil(2 * count / 3))
    turned = judge(values[::-1], TASKS, only_best=only_best)
    assert [bool(why) for why in turned] == [bool(why) for why in reasons[::-1]]
    # in other units, for example per cent, the decisions are the same
    scaled = judge([100 * v for v in values], TASKS, only_best=only_best)
    assert [bool(why) for why in scaled] == [bool(why) for why in reasons]


# races in which the true best is known

LENGTH = 100
RATES, RHOS = (0.03, 0.01, 0.003), (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def rho_study(random):
    """Return the true accuracy of 18 settings on 100 tasks, like those of a map of rho.

    Small learning rates begin lower and lose less. One rho is the best by a point, and
    large ones do harm within a few tasks.
    """
    peak, task = random.uniform(np.log(0.004), np.log(0.1)), np.arange(LENGTH)
    means = []
    for start, fall, slow, bearable in zip(
        (0.93, 0.92, 0.89),
        (0.05, 0.03, 0.01),
        (0.3, 1, 3),
        (0.03, 0.06, 0.12),
        strict=True,
    ):
        for rho in RHOS:
            gain = 0.01 * np.exp(-((np.log(rho) - peak) ** 2) / 2)
            harm = 0.3 * max(0.0, np.log(rho / bearable))
            curve = start - fall * (task / LENGTH) ** 0.7
            curve += gain * np.sqrt(task / LENGTH) - harm * np.minimum(1, task / 20)
            means.append(np.maximum(curve - 0.03 * slow * np.exp(-task / 3), 0.1))
    return np.array(means)


def draw(means, seeds, random):
    """Return accuracies (settings, seeds, tasks) with noise of seed, run and task."""
    shared = random.normal(0, 0.004, (1, seeds, LENGTH))
    runs = random.normal(0, 0.003, (len(means), seeds, 1))
    tasks = random.normal(0, 0.008, (len(means), seeds, LENGTH))
    return means[:, None] + shared + runs + tasks


def race(values):
    """Return the winner and the number of trained tasks."""
    left, trained = list(range(len(values))), np.zeros(values.shape[:2], dtype=int)
    all_stages = stages(range(values.shape[1]))
    for stage in all_stages:
        if len(left) == 1:
            break
        count, done = len(stage.seeds), stage.tasks(LENGTH)
        trained[left, :count] = done
        reasons = judge(
            [values[i, :count, :done] for i in left],
            LENGTH,
            only_best=stage is all_stages[-1],
        )
        left = [i for i, why in zip(left, reasons, strict=True) if why is None]
    trained[left] = LENGTH  # the winner runs all seeds
    return left[0], trained.sum()


def test_a_race_saves_half_of_the_steps_and_finds_the_best_as_often():
    """The grid has five seeds for each setting; the race has up to ten."""
    random = np.random.default_rng(1)
    grid = shares = found = 0
    regrets = np.zeros(2)
    count = 300
    for _ in range(count):
        means = rho_study(random)
        values, levels = draw(means, 10, random), means.mean(1)
        of_grid = values[:, :5].mean((1, 2)).argmax()
        of_race, steps = race(values)
        share = steps / (len(means) * 5 * LENGTH)
        assert share <= 0.65
        shares += share
        grid += of_grid == levels.argmax()
        found += of_race == levels.argmax()
        regrets += levels.max() - levels[[of_grid, of_race]]
    assert shares / count < 0.5
    assert found >= grid
    assert regrets[1] <= regrets[0]


@pytest.mark.chaos
def test_the_verdict_on_a_winner_errs_in_five_of_a_hundred_races():
    """Where all settings are equal. The seeds that chose would err more often."""
    random = np.random.default_rng(2)
    errors = np.zeros(2)
    count = 600
    for _ in range(count):
        values = draw(np.full((12, LENGTH), 0.9), 20, random)
        sam, _ = race(values[1:, :10])
        for i, seeds in enumerate((slice(10, 20), slice(0, 10))):
            pair = values[1 + sam, seeds].mean(1), values[0, seeds].mean(1)
            errors[i] += ttest_rel(*pair).pvalue < 0.05
    new, choosing = errors / count
    assert 0.023 < new < 0.077  # 0.05 within three standard errors
    assert choosing > 0.10
