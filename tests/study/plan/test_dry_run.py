"""What a dry run says of the differences that a study can find."""

import re

import attrs
import numpy as np
from scipy import stats

from study.plan.cost import run_cost
from study.plan.dry_run import duration_line, gpu_lines, power_lines
from study.plan.trials import Trial
from study.spec.studies import STUDIES, Study, grid
from trainables.networks import ResNet18
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import TD, Pairwise, Permuted
from trainables.setting import Setting

OPTIMIZERS = (SGD(), SGD(lr=0.1), SAM(), GNP(), SAM(lr=0.1))
STUDY = Study("small", grid([Permuted()], OPTIMIZERS, dataset="mnist-5k"), range(5))


def test_the_difference_is_found_with_the_probability_that_is_said():
    (line,) = power_lines(STUDY)
    assert line.startswith(
        "permuted: with 5 seeds and 6 comparisons, a true difference"
    )
    effect = float(re.search(r"difference of (\S+) standard", line)[1])
    draws = np.random.default_rng(0).normal(effect, 1, (20_000, 5))
    p = stats.ttest_1samp(draws, 0, axis=1).pvalue
    assert abs(np.mean(p < 0.05 / 6) - 0.8) < 0.03  # the effect has one decimal


def test_the_number_of_seeds_finds_one_standard_deviation():
    needed = int(re.search(r"needs (\d+) seeds", next(power_lines(STUDY)))[1])
    effects = []
    for seeds in (needed - 1, needed):
        (line,) = power_lines(attrs.evolve(STUDY, seeds=range(seeds)))
        effects.append(float(re.search(r"difference of (\S+) standard", line)[1]))
    assert effects[0] >= 1.0 >= effects[1]


def test_problems_with_as_many_comparisons_share_a_line():
    problems = [Permuted(), Pairwise()]
    both = attrs.evolve(STUDY, settings=grid(problems, OPTIMIZERS))
    (line,) = power_lines(both)
    assert line.startswith("permuted and pairwise: with 5 seeds and 6 comparisons")
    more = attrs.evolve(
        STUDY, settings=(*both.settings, *grid([Pairwise()], [GNP(lr=1)]))
    )
    assert [re.findall(r"\d+ comparisons", line) for line in power_lines(more)] == [
        ["6 comparisons"],
        ["8 comparisons"],
    ]


def test_one_seed_tests_nothing_and_sgd_alone_has_no_line():
    (line,) = power_lines(attrs.evolve(STUDY, seeds=[3]))
    assert "with 1 seed and 6 comparisons, no difference can be tested" in line
    alone = attrs.evolve(STUDY, settings=grid([Permuted()], [SGD(), SGD(lr=0.1)]))
    assert list(power_lines(alone)) == []


def test_every_study_says_what_it_can_find():
    for study in STUDIES.values():
        has_rivals = {s.optimizer.name for s in study.settings} > {"sgd"}
        assert len(list(power_lines(study))) in ((1, 2) if has_rivals else (0,))


def test_a_study_of_other_networks_says_how_long_a_gpu_takes():
    setting = Setting(network=ResNet18(resnet_width=2), dataset="cifar-10", tasks=1)
    trials = [Trial(setting, range(3))]
    (line,) = gpu_lines(trials)
    hours = 3 * run_cost(setting).flops / 1e12 / 3600
    assert f"which are {hours:,.1f} hours of one GPU that does 1e+12" in line
    assert "cannot time these networks" in duration_line(trials, 1)
    assert not [*gpu_lines([Trial(Setting(), range(3))])]


def test_the_time_of_control_is_not_that_of_its_updates():
    """Playing takes most of the time, and no benchmark measures it."""
    trials = [Trial(Setting(problem=TD()), (0,))]
    assert "cannot time problems of control" in duration_line(trials, 1)
