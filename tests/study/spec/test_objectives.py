"""Objectives are the metrics of the analysis; a run that diverged is a bad one."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.metrics import METRICS
from study.spec.objectives import direction, objective_values
from study.spec.search import SEARCHES, Search
from study.spec.space import Space
from trainables.problems import Pairwise, Permuted
from trainables.setting import Setting
from trainables.usage import UsageError

NAMES = ("mean_accuracy", "plasticity_loss")


def rows(matrix):
    """Return records of a matrix of accuracies, NaN where a run has diverged."""
    return [
        {
            "seed": 7 * seed,
            "task": task,
            "test_accuracy": None if np.isnan(value) else value,
            "diverged": bool(np.isnan(value)),
        }
        for task in range(matrix.shape[1])
        for seed, value in enumerate(matrix[:, task])
    ]


def test_an_objective_is_the_mean_of_a_metric_of_the_analysis():
    matrix = np.random.default_rng(0).uniform(0.5, 1, (4, 20))
    found = objective_values(NAMES, Setting(), rows(matrix))
    assert found == pytest.approx([METRICS[name](matrix).mean() for name in NAMES])
    # whatever the order of the rows
    mixed = rows(matrix)[::-1]
    assert objective_values(NAMES, Setting(), mixed) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize(("problem", "chance"), [(Permuted(), 0.1), (Pairwise(), 0.5)])
def test_a_seed_that_diverged_is_at_chance_and_has_lost_all(problem, chance):
    matrix = np.full((2, 10), 0.9)
    matrix[1, 4:] = np.nan
    setting = Setting(problem=problem)
    accuracy, lost = objective_values(NAMES, setting, rows(matrix))
    assert accuracy == pytest.approx((0.9 + 0.4 * 0.9 + 0.6 * chance) / 2)
    assert lost == pytest.approx((0 + (1 - chance)) / 2)


def test_diverging_at_once_is_the_worst_there_is():
    gone = np.full((3, 10), np.nan)
    accuracy, lost = objective_values(NAMES, Setting(), rows(gone))
    falls = np.linspace(1.0, 0.1, 10)[None]
    worse, more = objective_values(NAMES, Setting(), rows(falls))
    assert accuracy == pytest.approx(0.1)
    assert accuracy < worse
    assert lost >= more


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": NAMES, "asha": True}, "--asha stops trials before the end"),
        (
            {"objectives": ("plasticity_loss",), "tasks": 1},
            "number of tasks is 1, but the objective plasticity_loss needs at least 2",
        ),
        ({"objectives": ()}, "no objectives"),
        ({"objectives": ("mean_accuracy",) * 2}, "repeats one of its objectives"),
        (
            {"problem": "td", "dataset": "none", "objectives": ("plasticity_loss",)},
            "the measure of the problem is value_error: use the objective mean_a",
        ),
        ({"trials": 0}, "trials is 0"),
        ({"seeds": 0}, "seeds is 0"),
    ],
)
def test_a_search_without_sense_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        SEARCHES["search"].modify(**changes)


def test_a_search_knows_what_its_space_may_need():
    from study.spec.domain import choice, integer

    space = Space(dataset=choice("mnist", "mnist-5k"), tasks=integer(1, 5))
    search = Search("mine", space, range(2))
    assert (space.extremes("tasks"), search.datasets) == ((1, 5), ("mnist", "mnist-5k"))
    with pytest.raises(UsageError, match="plasticity_loss needs at least 2"):
        search.modify(objectives=("plasticity_loss",))
    assert search.modify(tasks=4).space.extremes("tasks") == (4,)


def test_a_search_over_control_optimizes_the_measure_of_its_problem():
    from study.spec.domain import choice

    walks = Space(problem="td", optimizer="sgd", lr=choice(0.1, 0.2))
    poles = Space(problem="cartpole", odd_reward=-1.0, lr=choice(0.1, 0.2))
    assert direction("mean_accuracy", Search("a", walks, [0]).measure) == "minimize"
    assert direction("mean_accuracy", Search("b", poles, [0]).measure) == "maximize"
    setting = poles.example
    rows = [
        {"seed": 0, "task": task, "mean_return": value, "diverged": value is None}
        for task, value in enumerate((300.0, -10.0, None, None))
    ]
    # a run that diverged counts as random actions: 22.1, or -22.1 at odd levels
    found = objective_values(("mean_accuracy", "late_accuracy"), setting, rows)
    assert found == pytest.approx((290 / 4, -22.1))
    with pytest.raises(UsageError, match=r"cartpole: mean_return, td: value_error"):
        Search("c", Space(problem=choice("td", "cartpole")), [0])
