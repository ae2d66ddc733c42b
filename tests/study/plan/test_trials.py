"""Plans: every run exactly once, interrupted stacks as they are, costly ones first."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.plan.cost import bytes_per_seed, seeds_that_fit
from study.plan.trials import (
    CPU_STACK,
    GPU_STACK,
    LONGEST_NAME,
    Trial,
    auto_stack_size,
    plan,
)
from study.spec.studies import Study, grid
from trainables.optimizers import GNP, SGD
from trainables.problems import Pairwise, Permuted
from trainables.setting import Setting

SETTINGS = grid((Permuted(), Pairwise()), (SGD(), GNP()), dataset="mnist-5k", tasks=4)


def seeds_of(trials, setting):
    stacks = [trial.seeds for trial in trials if trial.setting == setting]
    return sorted(itertools.chain.from_iterable(stacks))


@given(
    seeds=st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=30),
    data=st.data(),
    stack=st.none() | st.integers(1, 12),
    slots=st.integers(1, 100),
    memory=st.none() | st.floats(0, 1e10),
)
def test_every_run_that_is_left_is_planned_once(seeds, data, stack, slots, memory):
    study = Study("any", SETTINGS, tuple(seeds))
    every = [(s, seed) for s in SETTINGS for seed in seeds]
    done = set(data.draw(st.lists(st.sampled_from(every), unique=True)))
    # stacks as they may lie there: done since, of others' seeds, overlapping
    some = st.lists(st.sampled_from([*sorted(seeds), 7, 8]), max_size=4, unique=True)
    kinds = [*(s.setting_id for s in SETTINGS), "f00d"]
    interrupted = data.draw(
        st.lists(st.tuples(st.sampled_from(kinds), some.map(sorted).map(tuple)))
    )
    run_ids = {setting.run_id(seed) for setting, seed in done}
    trials = plan(
        study, run_ids, interrupted, stack_size=stack, slots=slots, gpu_memory=memory
    )
    planned = [(trial.setting, seed) for trial in trials for seed in trial.seeds]
    assert len(planned) == len(set(planned))
    assert set(planned) == set(every) - done
    assert len({trial.name for trial in trials}) == len(trials)
    assert all(len(trial.name) <= LONGEST_NAME + 64 for trial in trials)
    fresh = [t for t in trials if (t.setting.setting_id, t.seeds) not in interrupted]
    assert all(len(t.seeds) <= (stack or GPU_STACK) for t in fresh)
    costs = [trial.cost.work for trial in trials]
    assert costs == sorted(costs, reverse=True)


def test_an_interrupted_stack_is_resumed_unchanged():
    one = SETTINGS[0]
    study = Study("any", SETTINGS[:2], tuple(range(6)))
    there = [(one.setting_id, (1, 2, 4)), (one.setting_id, (0, 9))]
    trials = plan(study, set(), there, stack_size=2, slots=1)
    mine = [trial.seeds for trial in trials if trial.setting == one]
    assert sorted(mine) == [(0, 3), (1, 2, 4), (5,)]


def test_an_interrupted_stack_with_a_run_done_since_is_not_resumed():
    one = SETTINGS[0]
    study = Study("any", (one,), (0, 1))
    there = [(one.setting_id, (0, 1))]
    trials = plan(study, {one.run_id(0)}, there, stack_size=None, slots=1)
    assert [trial.seeds for trial in trials] == [(1,)]


@pytest.mark.parametrize(
    ("runs", "slots", "gpu", "size"),
    [
        (120, 2, False, CPU_STACK),
        (120, 2, True, 60),
        (1000, 2, True, GPU_STACK),
        (12, 4, False, 3),
        (3, 16, True, 1),
        (0, 4, False, 1),
    ],
)
def test_stacks_are_as_large_as_pays_and_leave_no_slot_idle(runs, slots, gpu, size):
    assert auto_stack_size(runs, slots, gpu=gpu) == size


def test_a_stack_on_a_gpu_is_no_larger_than_its_memory():
    """The weights of width 2000 take 60 times those of width 100."""
    wide = Setting(hidden=(2000,) * 3)
    study = Study("any", (Setting(), wide), tuple(range(64)))

    def largest(setting, **options):
        trials = plan(study, set(), [], slots=1, **{"stack_size": None} | options)
        return max(len(t.seeds) for t in trials if t.setting == setting)

    assert largest(wide) == CPU_STACK
    assert largest(wide, gpu_memory=80e9) == GPU_STACK
    assert largest(wide, gpu_memory=8e9) == seeds_that_fit(wide, 8e9) < GPU_STACK
    assert largest(Setting(), gpu_memory=8e9) == GPU_STACK
    assert largest(wide, gpu_memory=1.0) == 1
    assert largest(wide, gpu_memory=8e9, stack_size=32) == 32


def test_the_memory_of_a_seed_is_that_of_its_weights_and_activations():
    """Closed form: 784 x 5 + 5 and 5 x 10 + 10 weights; 799 units, 512 examples."""
    weights, units = 785 * 5 + 6 * 10, 784 + 5 + 10
    setting = Setting(hidden=(5,))
    assert bytes_per_seed(setting) == 4 * (12 * weights + 3 * 512 * units)
    assert bytes_per_seed(Setting(hidden=(5,), batch_size=1024)) == 4 * (
        12 * weights + 3 * 1024 * units
    )


def test_stacks_are_as_even_as_can_be():
    study = Study("any", SETTINGS[:1], tuple(range(11)))
    sizes = [len(t.seeds) for t in plan(study, set(), [], stack_size=4, slots=1)]
    assert sorted(sizes) == [3, 4, 4]


def test_the_costliest_trial_is_the_first():
    study = Study("any", SETTINGS, (0, 1, 2))
    trials = plan(study, set(), [], stack_size=3, slots=1)
    order = [(t.setting.problem.name, t.setting.optimizer.name) for t in trials]
    assert order == [
        ("permuted", "gnp"),
        ("permuted", "sgd"),
        ("pairwise", "gnp"),
        ("pairwise", "sgd"),
    ]


def test_a_trials_config_has_its_setting_seeds_and_resources():
    trial = Trial(SETTINGS[3], (4, 5))
    config = trial.config(cpus=1, gpus=0.5)
    assert Setting.from_row(config.pop("setting")) == trial.setting
    names = {"name": trial.name, "label": trial.label, "until": trial.setting.tasks}
    assert config == {"seeds": [4, 5], "cpus": 1, "gpus": 0.5} | names


def test_a_trials_label_tells_it_from_the_others():
    trial = Trial(Setting(optimizer=GNP(lr=0.1, momentum=0.9)), (0, 1, 5))
    assert trial.label == (
        "permuted gnp lr=0.1 rho=0.05 alpha=0.8 momentum=0.9, seeds 0-1+5"
    )
