"""The best setting of each method runs with seeds that did not choose it."""

from __future__ import annotations

import attrs
import pytest

from study.results.store import Store
from study.running.confirm import confirmation, new_seeds
from study.running.session import ConfirmationSession, StudySession
from study.spec.studies import Study, grid
from trainables.data import load
from trainables.interventions import ContinualBackprop
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import TD, CartPole, Pairwise, Permuted
from trainables.request import Request
from trainables.setting import RunOptions
from trainables.start import start_run
from trainables.usage import UsageError

STUDY = Study(
    "mine",
    grid(
        (Permuted(), Pairwise()),
        (SGD(lr=0.05), SGD(lr=1e-5), SAM(lr=0.05), SAM(lr=1e-5)),
        dataset="mnist-5k",
        tasks=2,
        batch_size=4,
        hidden=(8,),
    ),
    (0, 1),
)
MINE = frozenset(setting.setting_id for setting in STUDY.settings)


def fill(store, settings, seeds, data):
    """Train settings and save their records."""
    for setting in settings:
        options = RunOptions(landscape_every=0)
        run = start_run(setting, seeds, data, options=options)
        who = {"study": store.study, "trial_id": "t"}
        rows = [who | row for _ in range(setting.tasks) for row in run.next_task()]
        store.write_records(rows)


def test_the_best_and_the_best_sgd_get_the_next_seeds(tmp_path, few):
    store = Store(str(tmp_path), "mine")
    fill(store, STUDY.settings, STUDY.seeds, few)
    more = confirmation(store, seeds=STUDY.seeds, count=3, setting_ids=MINE)
    assert more.name == "mine"
    assert more.seeds == (2, 3, 4)
    chosen = {(s.problem.name, s.optimizer.name, s.optimizer.lr) for s in more.settings}
    # with a step size of 1e-5, the network learns nothing
    assert chosen == {
        (problem, kind, 0.05)
        for problem in ("permuted", "pairwise")
        for kind in ("sgd", "sam")
    }
    assert {setting.setting_id for setting in more.settings} <= MINE
    # records of the new seeds do not count, so the same command chooses the same
    fill(store, [s for s in STUDY.settings if s not in more.settings], (2, 3, 4), few)
    fill(store, more.settings, (2,), few)
    assert confirmation(store, seeds=STUDY.seeds, count=3, setting_ids=MINE) == more
    # settings of another study in the same folder do not count, either
    other = Study("mine", STUDY.settings[1::2], STUDY.seeds)
    ids = frozenset(setting.setting_id for setting in other.settings)
    others = confirmation(store, seeds=other.seeds, count=1, setting_ids=ids)
    assert {setting.optimizer.lr for setting in others.settings} == {1e-5}


def test_each_method_is_confirmed_with_its_own_best_rate(tmp_path, few):
    """Not only the best method is confirmed, but also the best SAM and the best GNP."""
    kinds = [kind(lr=lr) for kind in (SGD, SAM, GNP) for lr in (0.05, 1e-5)]
    study = Study(
        "mine",
        grid(
            (Permuted(),), kinds, dataset="mnist-5k", tasks=2, batch_size=4, hidden=(8,)
        ),
        (0, 1),
    )
    store = Store(str(tmp_path), "mine")
    fill(store, study.settings, study.seeds, few)
    more = confirmation(store, seeds=study.seeds, count=2)
    chosen = {(s.optimizer.name, s.optimizer.lr) for s in more.settings}
    assert chosen == {(kind, 0.05) for kind in ("sgd", "sam", "gnp")}


def test_control_is_confirmed_by_the_measures_of_its_problems(tmp_path):
    problems = TD(td_steps=60), CartPole(level_iterations=1, iteration_steps=30)
    kinds = [kind(lr=lr) for kind in (SGD, SAM) for lr in (0.1, 1e-5)]
    settings = grid(problems, kinds, tasks=2, hidden=(6,), batch_size=10)
    store = Store(str(tmp_path), "mine")
    fill(store, settings, (0, 1), load("none"))
    more = confirmation(store, seeds=(0, 1), count=2)
    chosen = [(s.problem.name, s.optimizer.name) for s in more.settings]
    assert sorted(chosen) == [
        (problem, kind) for problem in ("cartpole", "td") for kind in ("sam", "sgd")
    ]
    td = [s.optimizer.lr for s in more.settings if s.problem.name == "td"]
    assert td == [0.1, 0.1]  # with 1e-5, the values stay wrong


def test_the_request_says_which_seeds_confirm():
    rows = STUDY.rows()
    request = Request(study="mine").with_settings(rows, STUDY.seeds)
    for kind, seeds in ((StudySession, frozenset()), (ConfirmationSession, {2, 3})):
        more = request.with_settings(rows, (2, 3), confirming=kind.confirming)
        assert more.confirming == seeds


def test_whole_numbers_come_back_whole_where_other_settings_have_none(tmp_path, few):
    """In a data frame, whole numbers in a column with nulls become floats."""
    replaced = [
        attrs.evolve(
            STUDY.settings[0],
            optimizer=optimizer,
            intervention=ContinualBackprop(maturity=7),
        )
        for optimizer in (SGD(lr=0.05), SAM(lr=0.05))
    ]
    store = Store(str(tmp_path), "mine")
    fill(store, [STUDY.settings[0], *replaced], (0, 1), few)
    more = confirmation(store, seeds=(0, 1), count=1)
    assert set(more.settings) == set(replaced)


def test_there_must_be_seeds_above():
    assert new_seeds((3, 0), 2) == (4, 5)
    with pytest.raises(
        UsageError, match="the largest new seed of --confirm-seeds is 4294967296"
    ):
        new_seeds((2**32 - 1,), 1)
