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
from trainables.optimizers import ASAM, GNP, SAM, SGD
from trainables.problems import Pairwise, Permuted
from trainables.request import Request, joint_id
from trainables.setting import Setting, common_setting

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
    assert bytes_per_seed(setting) == 4 * (20 * weights + 3 * 512 * units)
    assert bytes_per_seed(Setting(hidden=(5,), batch_size=1024)) == 4 * (
        20 * weights + 3 * 1024 * units
    )


# ---- settings that train together


def runs_of(trials):
    return [(s, seed) for t in trials for s in t.settings for seed in t.seeds]


GRID = grid(
    (Permuted(), Pairwise()),
    (SGD(), SGD(lr=0.1), SAM(), SAM(rho=0.1), GNP(), GNP(alpha=2.0), ASAM()),
    dataset="mnist-5k",
    tasks=4,
)


@given(
    seeds=st.sets(st.integers(0, 99), min_size=1, max_size=12),
    data=st.data(),
    slots=st.integers(1, 9),
    memory=st.floats(1e6, 1e10),
)
def test_settings_that_train_together_are_planned_once(seeds, data, slots, memory):
    """Also if they were planned before, and trials were killed at any time."""
    study = Study("any", GRID, tuple(sorted(seeds)))
    options = {"stack_size": None, "gpu_memory": memory, "can_join": True}
    trials = plan(study, set(), [], slots=slots, **options)
    assert sorted(map(str, runs_of(trials))) == sorted(
        str((s, seed)) for s in GRID for seed in seeds
    )
    for trial in trials:
        common = {common_setting(setting) for setting in trial.settings}
        assert len(common) == 1
        assert trial.runs <= max(1, seeds_that_fit(trial.setting, memory))
        assert not trial.partners or None not in common
    rows = study.rows()
    names = [trial.name for trial in trials]
    joint = [trial.setting_ids for trial in trials if trial.partners]
    request = Request(study="any").with_settings(rows, seeds)
    request = request.with_stacks(rows, names, slots, joint)
    request = Request.from_bytes(request.to_bytes(), "any")
    done = data.draw(st.sets(st.sampled_from(sorted(names))))
    finished = {
        s.run_id(seed) for s, seed in runs_of(t for t in trials if t.name in done)
    }
    again = plan(
        study,
        finished,
        request.stacks_to_resume(slots),
        slots=slots,
        joint=request.joint,
        **options,
    )
    assert {trial.name for trial in again} == set(names) - done
    assert set(again) == {trial for trial in trials if trial.name not in done}


def test_a_trial_that_was_killed_between_two_records_files_is_resumed_whole():
    study = Study("any", GRID[:2], (0, 1))
    trial = Trial(GRID[0], (0, 1), partners=(GRID[1],))
    stack_id = joint_id(trial.setting_ids)
    finished = {GRID[0].run_id(0), GRID[0].run_id(1)}

    def again(finished, **changes):
        there = [(stack_id, (0, 1))]
        options = {
            "stack_size": None,
            "slots": 1,
            "joint": {stack_id: trial.setting_ids},
            "checkpoint_stacks": there,
            "gpu_memory": 1e10,
            "can_join": True,
        }
        return plan(study, finished, there, **options | changes)

    assert again(finished) == [trial]
    # without a checkpoint or a GPU, only what is left is planned
    alone = [Trial(GRID[1], (0, 1))]
    assert again(finished, checkpoint_stacks=[]) == alone
    assert again(finished, joint={}) == alone
    assert again(finished, gpu_memory=None) == alone
    assert again(finished, can_join=False) == alone
    assert again(finished | {GRID[1].run_id(0), GRID[1].run_id(1)}) == []


def test_settings_train_together_only_on_a_gpu_and_if_the_user_sets_no_stack():
    study = Study("any", GRID, (0, 1))

    def partners(**options):
        every = {"stack_size": None, "slots": 1, "can_join": True} | options
        return max(len(t.partners) for t in plan(study, set(), [], **every))

    assert partners() == 0
    assert partners(gpu_memory=1e10) == 3  # SAM and GNP
    assert partners(gpu_memory=1e10, stack_size=2) == 0
    assert partners(gpu_memory=1e10, can_join=False) == 0
    assert partners(gpu_memory=1e10, slots=14) == 0


def test_settings_that_train_together_leave_no_slot_idle():
    settings = grid((Permuted(),), [SGD(lr=lr) for lr in (0.1, 0.2, 0.3, 0.4, 0.5)])
    options = {"stack_size": None, "gpu_memory": 1e10, "can_join": True}
    trials = plan(
        Study("any", settings, tuple(range(10))), set(), [], slots=2, **options
    )
    assert sorted(trial.runs for trial in trials) == [20, 30]
    trials = plan(Study("any", settings[:3], (0, 1)), set(), [], slots=2, **options)
    assert sorted(trial.runs for trial in trials) == [2, 4]


def test_after_a_lack_of_memory_trials_are_smaller_and_larger_ones_not_resumed():
    study = Study("any", GRID[2:6], tuple(range(6)))
    options = {"stack_size": None, "slots": 1, "gpu_memory": 1e10, "can_join": True}
    (whole,) = plan(study, set(), [], **options)
    assert whole.runs == 24
    stack_id = joint_id(whole.setting_ids)
    there = [(stack_id, whole.seeds)]
    joint = {stack_id: whole.setting_ids}
    for most in (12, 6, 5, 1):
        trials = plan(study, set(), there, joint=joint, most_networks=most, **options)
        assert max(trial.runs for trial in trials) <= most
        assert len(set(runs_of(trials))) == len(runs_of(trials)) == 24


def test_a_joint_trial_has_the_cost_and_the_runs_of_its_settings():
    trial = Trial(GRID[2], (0, 1), partners=GRID[3:5])
    alone = [Trial(setting, (0, 1)) for setting in GRID[2:5]]
    assert trial.cost == tuple(map(sum, zip(*(t.cost for t in alone), strict=True)))
    assert trial.runs == 6
    assert trial.label == "permuted sam lr=0.01 rho=0.05 and 2 more settings, seeds 0-1"


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
    own = {"seeds": [4, 5], "partners": [], "cpus": 1, "gpus": 0.5}
    assert config == own | names


def test_a_trials_label_tells_it_from_the_others():
    trial = Trial(Setting(optimizer=GNP(lr=0.1, momentum=0.9)), (0, 1, 5))
    assert trial.label == (
        "permuted gnp lr=0.1 rho=0.05 alpha=0.8 momentum=0.9, seeds 0-1+5"
    )
