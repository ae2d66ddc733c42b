"""A race in real runs, without Ray: what trains, what stops, and what stays."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import attrs
import pytest

from analysis.comparing.compare import confirm
from analysis.records.load import load
from study.racing.session import RaceSession, StageSession, around, by_method
from study.results.store import Store
from study.running.confirm import confirmation
from study.running.session import STOPPED, ConfirmationSession, StudySession
from study.running.shares import Shares
from study.spec.options import SweepOptions
from study.spec.studies import Study, grid
from trainables.data import load as load_dataset
from trainables.interventions import LayerNorm
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import TD, CartPole, Pairwise, Permuted
from trainables.setting import RunOptions, Setting
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError

COMMON = {"dataset": "mnist-5k", "tasks": 6, "hidden": (6,), "batch_size": 8}
STUDY = Study(
    "mine",
    grid(
        (Permuted(),),
        (
            *(SGD(lr=lr) for lr in (0.05, 1e-5)),
            *(SAM(lr=0.05, rho=rho) for rho in (0.01, 0.1, 3.0)),
        ),
        **COMMON,
    ),
    (0, 1),
    landscape_every=0,
)


@pytest.fixture(scope="module")
def local(few):
    """Let sessions run their trials in this process.

    Its attribute `ran` lists what ran. After `left` more trials, a session is stopped;
    a negative number never stops it.
    """

    class Local(ContinualTrainable):
        def setup(self, config):
            options = RunOptions(landscape_every=0, checkpoint_every=2)
            data = {"mnist-5k": few, "none": load_dataset("none")}
            super().setup(config, data, self.keeper, options)

    def run_left(session):
        _, _, session.request = session._prepare(Shares(1, 0, 2))
        session.store.save_request(session.request)
        for trial in session.plan(2):
            if not run_left.left:
                raise KeyboardInterrupt
            run_left.left -= 1
            actor = type("Actor", (Local,), {"keeper": session.store})
            trainable = actor({"trial": trial.config(1, 0)})
            while not trainable.train()["done"]:
                pass
            run_left.ran.append((trial.name, trial.tasks))
        return {}

    run_left.left, run_left.ran = -1, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.running.session.Session._run_left", run_left)
        patch.setattr("trainables.data.load", lambda *_: None)
        patch.setattr(
            "study.running.connection.connected", lambda *_: contextlib.nullcontext()
        )
        patch.setattr("trainables.trainable.SAVE_SECONDS", 60.0)
        yield run_left


def race(store, study=STUDY):
    session = RaceSession(SweepOptions(), study, store)
    return session, session.run()


@pytest.fixture(scope="module")
def ended(local, tmp_path_factory):
    """A race that has ended."""
    store = Store(str(tmp_path_factory.mktemp("ended")), "mine")
    local.ran.clear()
    session, code = race(store)
    assert code == 0
    session.ran = list(local.ran)
    return session


@pytest.fixture
def store(ended, tmp_path):
    """A copy of the results of the race that has ended."""
    shutil.copytree(ended.store.location(), tmp_path / "mine")
    return Store(str(tmp_path), "mine")


def read(store):
    frame = load(store.location(), ["test_accuracy"], with_stopped=True)
    rows = frame[["run_id", "task", "test_accuracy"]].to_numpy().tolist()
    return sorted(map(tuple, rows))


def test_a_race_ends_with_one_setting_of_each_method(ended, store, local, capsys):
    assert ended.seeds == (0, 1, 2, 3)
    assert sorted(s.optimizer.name for s in ended.settings) == ["sam", "sgd"]
    assert {s.optimizer.lr for s in ended.settings} == {0.05}  # 1e-5 learns nothing
    request = store.load_request()
    winners = {setting.setting_id for setting in ended.settings}
    assert request.settings.keys() == winners
    assert request.race.stopped.keys() >= STUDY.rows().keys() - winners
    assert all("permuted s" in why for why in request.race.stopped.values())
    assert type(request).from_bytes(request.to_bytes(), "mine") == request
    assert not store.interrupted_stacks()
    for setting in ended.settings:
        assert {setting.run_id(seed) for seed in ended.seeds} <= store.finished_runs()
    # what learns nothing has stopped long before the end
    names = {name for name, tasks in ended.ran if tasks == 6}
    assert not any(name.startswith(STUDY.settings[1].setting_id) for name in names)
    # what stopped before its end is kept, but not among the records
    stopped = sorted(Path(store.location("stopped")).iterdir())
    assert stopped
    rows = load(str(stopped[0]), ["test_accuracy"])
    assert len(rows) == 2 * 5
    assert set(rows["setting_id"]) <= request.race.stopped.keys()
    # and what stopped at its end is in no table
    capsys.readouterr()
    assert set(load(store.location())["setting_id"]) == winners
    # to run it again trains nothing
    local.ran.clear()
    again, code = race(store)
    assert (code, local.ran) == (0, [])
    assert again.settings == ended.settings
    # the winners are confirmed on seeds that did not choose
    more = confirmation(store, seeds=ended.seeds, count=3, setting_ids=winners)
    assert more.seeds == (4, 5, 6)
    assert ConfirmationSession(SweepOptions(), more, store).run() == 0
    judged = confirm(load(store.location(), ["test_accuracy"])).set_index("against")
    assert judged.loc["confirming", "pairs"] == 3
    assert judged.loc["choosing", "pairs"] == 4


@pytest.mark.parametrize(
    "trials", [5, *(pytest.param(n, marks=pytest.mark.chaos) for n in (3, 8))]
)
def test_a_race_that_is_killed_decides_the_same(tmp_path, ended, local, trials):
    cut = Store(str(tmp_path), "mine")
    local.left = trials
    assert race(cut)[1] == STOPPED
    local.left = -1
    assert race(cut)[1] == 0
    requests = [store.load_request() for store in (cut, ended.store)]
    # after an interruption, fewer trials are planned
    assert (
        len({attrs.evolve(request, stacks=()).to_bytes() for request in requests}) == 1
    )
    assert read(cut) == read(ended.store)


def test_other_seeds_or_settings_are_refused(store):
    for other in (STUDY.modify(seeds=3), STUDY.modify(tasks=7)):
        with pytest.raises(UsageError, match="a race with other seeds or other sett"):
            race(store, other)


def test_without_refine_everything_that_stopped_runs_after_all(ended, store, local):
    """Also where all runs were finished before the race, and a race may follow."""

    def run_all():
        assert StudySession(SweepOptions(), STUDY, store).run() == 0
        return set(load(store.location())["setting_id"])

    assert run_all() >= STUDY.rows().keys()
    again, code = race(store)
    assert code == 0
    assert [s for s in again.settings if s.optimizer.name == "sgd"] == [
        s for s in ended.settings if s.optimizer.name == "sgd"
    ]
    # nothing is left to train, but the settings are there again
    local.ran.clear()
    assert run_all() >= STUDY.rows().keys()
    assert local.ran == []
    assert not store.load_request().race.stopped.keys() & STUDY.rows().keys()


def test_a_race_on_a_short_stream_judges_the_same_tasks_once(tmp_path, local, capsys):
    session, code = race(Store(str(tmp_path), "mine"), STUDY.modify(tasks=1))
    assert (code, len(session.settings)) == (0, 2)
    said = capsys.readouterr().out
    assert "Stage 1 of 12" in said
    assert "Stage 2 of 12" not in said


def test_a_stage_trains_up_to_its_share_and_no_further(tmp_path, local):
    store = Store(str(tmp_path), "mine")
    stage = RaceSession(SweepOptions(), STUDY, store).stages[0]
    session = StageSession(SweepOptions(), STUDY, store, stage)
    assert session.left == session.total == 10
    local.ran.clear()
    assert session.run() == 0
    assert session.left == 0
    assert {tasks for _, tasks in local.ran} == {5}
    assert not store.finished_runs()


def test_control_races_by_the_measures_of_its_problems(tmp_path, local):
    problems = TD(td_steps=60), CartPole(level_iterations=1, iteration_steps=30)
    rates = [SGD(lr=lr) for lr in (0.1, 1e-5)]
    fields = {"tasks": 5, "hidden": (6,), "batch_size": 10}
    study = Study("mine", grid(problems, rates, **fields), (0, 1), landscape_every=0)
    store = Store(str(tmp_path), "mine")
    session, code = race(store, study)
    assert code == 0
    assert sorted(s.problem.name for s in session.settings) == ["cartpole", "td"]
    columns = ["mean_return", "value_error"]
    frame = load(store.location(), columns, with_stopped=True)
    for setting in session.settings:
        own = frame[frame["problem"] == setting.problem.name]
        # a setting that was stopped has only some of the seeds and tasks
        count = own.groupby(["seed", "task"])["setting_id"].transform("nunique")
        means = own[count == 2].groupby("setting_id")[columns].mean()
        winner = means.loc[setting.setting_id]
        if setting.problem.name == "td":
            assert winner["value_error"] == means["value_error"].min()
        else:
            assert winner["mean_return"] == means["mean_return"].max()
    stopped = store.load_request().race.stopped
    assert len(stopped) == 2
    assert {text.split()[0] for text in stopped.values()} == {"td", "cartpole"}
    for text in stopped.values():
        words = "value error" if text.startswith("td") else "return"
        assert f"its mean {words} was" in text


def test_races_are_between_settings_of_one_method_on_one_stream():
    rhos = [Setting(optimizer=SAM(rho=rho)) for rho in (0.1, 0.2)]
    others = [
        Setting(optimizer=SGD()),
        Setting(optimizer=GNP()),
        Setting(optimizer=SAM(), problem=Pairwise()),
        Setting(optimizer=SAM(), batch_size=1),
        Setting(optimizer=SAM(), intervention=LayerNorm()),
    ]
    assert by_method([*rhos, *others]) == [rhos, *([other] for other in others)]


def test_new_values_of_rho_lie_halfway_to_the_neighbors():
    def settings(*rhos):
        return [Setting(optimizer=SAM(rho=rho)) for rho in rhos]

    others = [Setting(optimizer=SAM(rho=0.06, lr=0.1)), Setting(optimizer=SGD())]
    grid_of_rho = [*settings(0.01, 0.04, 0.16), *others]

    def rhos(best):
        return [s.optimizer.rho for s in around(*settings(best), grid_of_rho)]

    assert rhos(0.04) == [0.02, 0.08]
    assert rhos(0.01) == [0.02]
    assert rhos(0.16) == [0.08, 0.64]
    assert around(Setting(optimizer=SGD()), grid_of_rho) == []
    assert around(settings(0.3)[0], settings(0.3)) == []
