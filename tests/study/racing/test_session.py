"""A race in real runs, without Ray: what trains, what stops, and what stays."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import attrs
import pytest

from analysis.comparing.compare import confirm
from analysis.records.load import load
from study.racing.session import RaceSession, StageSession, around, by_method
from study.results.store import Store
from study.running.confirm import confirmation
from study.running.session import STOPPED, ConfirmationSession, StudySession
from study.spec.options import SweepOptions
from study.spec.studies import Study, grid, over_rho
from trainables.interventions import LayerNorm
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Pairwise, Permuted
from trainables.setting import RunOptions, Setting
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError

COMMON = {"dataset": "mnist-5k", "tasks": 8, "hidden": (6,), "batch_size": 8}
STUDY = Study(
    "mine",
    grid((Permuted(),), over_rho((0.01, 0.1, 3.0), (0.05, 1e-5), ()), **COMMON),
    (0, 1),
    landscape_every=0,
)


@pytest.fixture
def local(few, monkeypatch):
    """Let sessions run their trials in this process; return the names of what ran."""
    ran = []

    class Local(ContinualTrainable):
        def setup(self, config):
            options = RunOptions(landscape_every=0, checkpoint_every=2)
            super().setup(config, {"mnist-5k": few}, self.keeper, options)

    def run_left(session):
        rows = session.study.rows()
        trials = session.plan(slots=2)
        request = session.request.with_settings(
            rows, session.study.seeds, confirming=session.confirming
        ).with_stacks(rows, [trial.name for trial in trials], 2)
        session.request = request
        session.store.save_request(request)
        for trial in trials:
            if getattr(run_left, "left", 1) == 0:
                raise KeyboardInterrupt
            run_left.left = getattr(run_left, "left", -1) - 1
            actor = type("Actor", (Local,), {"keeper": session.store})(
                {"trial": trial.config(1, 0)}
            )
            while not actor.train()["done"]:
                pass
            ran.append((trial.name, trial.tasks))
        return {}

    monkeypatch.setattr("study.running.session.Session._run_left", run_left)
    monkeypatch.setattr("trainables.data.load", lambda *_: None)
    monkeypatch.setattr(
        "study.running.connection.connected", lambda *_: contextlib.nullcontext()
    )
    monkeypatch.setattr("trainables.trainable.SAVE_SECONDS", 60.0)
    ran_left = run_left
    ran_left.left = -1
    return ran, ran_left


def read(store):
    frame = load(store.location(), ["test_accuracy"], with_stopped=True)
    rows = frame[["run_id", "task", "test_accuracy"]].to_numpy().tolist()
    return sorted(map(tuple, rows))


def test_a_race_ends_with_one_setting_of_each_method(tmp_path, local, capsys):
    ran, _ = local
    store = Store(str(tmp_path), "mine")
    race = RaceSession(SweepOptions(), STUDY, store)
    assert race.seeds == (0, 1, 2, 3)
    assert race.run() == 0
    assert sorted(s.optimizer.name for s in race.settings) == ["sam", "sgd"]
    assert {s.optimizer.lr for s in race.settings} == {0.05}  # the other learns nothing
    request = store.load_request()
    winners = {setting.setting_id for setting in race.settings}
    assert request.settings.keys() == winners
    assert request.race.stopped.keys() >= STUDY.rows().keys() - winners
    assert not store.interrupted_stacks()
    for setting in race.settings:
        assert {setting.run_id(seed) for seed in race.seeds} <= store.finished_runs()
    # most settings have stopped long before the end
    whole = len(STUDY.settings) * len(STUDY.seeds)
    assert len([name for name, tasks in ran if tasks == 8]) < whole
    assert "settings go on" in capsys.readouterr().out
    # what stopped before its end is kept, but not among the records
    stopped = sorted(Path(store.location("stopped")).iterdir())
    assert stopped
    rows = load(str(stopped[0]), ["test_accuracy"])
    assert len(rows) == 2 * 5
    assert set(rows["setting_id"]) <= request.race.stopped.keys()
    # and what stopped at its end is in no table
    capsys.readouterr()
    assert set(load(store.location())["setting_id"]) == winners
    assert "settings that --refine stopped are left out" in capsys.readouterr().err
    # to run it again trains nothing
    ran.clear()
    again = RaceSession(SweepOptions(), STUDY, store)
    assert again.run() == 0
    assert not ran
    assert again.settings == race.settings
    # the winners are confirmed on seeds that did not choose
    more = confirmation(store, seeds=race.seeds, count=3, setting_ids=winners)
    assert more.seeds == (4, 5, 6)
    assert ConfirmationSession(SweepOptions(), more, store).run() == 0
    judged = confirm(load(store.location(), ["test_accuracy"])).set_index("against")
    assert judged.loc["confirming", "pairs"] == 3
    assert judged.loc["choosing", "pairs"] == 4


@pytest.mark.parametrize("trials", [6, 13])
def test_a_race_that_is_killed_decides_the_same(tmp_path, local, trials):
    _, run_left = local
    whole, cut = (Store(str(tmp_path / name), "mine") for name in ("whole", "cut"))
    assert RaceSession(SweepOptions(), STUDY, whole).run() == 0
    run_left.left = trials
    assert RaceSession(SweepOptions(), STUDY, cut).run() == STOPPED
    run_left.left = -1
    assert RaceSession(SweepOptions(), STUDY, cut).run() == 0
    requests = [store.load_request() for store in (cut, whole)]
    # after an interruption, fewer trials are planned
    assert (
        len({attrs.evolve(request, stacks=()).to_bytes() for request in requests}) == 1
    )
    assert read(cut) == read(whole)


def test_other_seeds_or_settings_are_refused(tmp_path, local):
    store = Store(str(tmp_path), "mine")
    assert RaceSession(SweepOptions(), STUDY, store).run() == 0
    for other in (STUDY.modify(seeds=3), STUDY.modify(tasks=7)):
        with pytest.raises(UsageError, match="a race with other seeds or other sett"):
            RaceSession(SweepOptions(), other, store)


def test_without_refine_everything_that_stopped_runs_after_all(tmp_path, local):
    """Also where all runs were finished before the race, and a race may follow."""
    store = Store(str(tmp_path), "mine")

    def race():
        session = RaceSession(SweepOptions(), STUDY, store)
        assert session.run() == 0
        return session.settings

    def grid():
        assert StudySession(SweepOptions(), STUDY, store).run() == 0
        return set(load(store.location())["setting_id"])

    first = race()
    every = grid()
    assert every >= STUDY.rows().keys()
    best = [s for s in race() if s.optimizer.name == "sgd"]
    assert best == [s for s in first if s.optimizer.name == "sgd"]
    # nothing was left to train, but the settings are there again
    assert grid() >= STUDY.rows().keys()
    assert not store.load_request().race.stopped.keys() & STUDY.rows().keys()


def test_a_race_on_a_short_stream_judges_the_same_tasks_once(tmp_path, local, capsys):
    store = Store(str(tmp_path), "mine")
    race = RaceSession(SweepOptions(), STUDY.modify(tasks=1), store)
    assert race.run() == 0
    assert len(race.settings) == 2
    said = capsys.readouterr().out
    assert "Stage 1 of 12" in said
    assert "Stage 2 of 12" not in said


def test_a_stage_trains_up_to_its_share_and_no_further(tmp_path, local):
    ran, _ = local
    store = Store(str(tmp_path), "mine")
    stage = RaceSession(SweepOptions(), STUDY, store).stages[0]
    session = StageSession(SweepOptions(), STUDY, store, stage)
    assert session.left == session.total == 16
    assert session.run() == 0
    assert session.left == 0
    assert {tasks for _, tasks in ran} == {5}
    assert not store.finished_runs()


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


def test_new_values_of_rho_lie_halfway_to_the_neighbours():
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


def test_the_race_is_in_the_request(tmp_path, local):
    store = Store(str(tmp_path), "mine")
    assert RaceSession(SweepOptions(), STUDY, store).run() == 0
    request = store.load_request()
    content = json.loads(request.to_bytes())
    assert content["race"]["seeds"] == "0-3"
    assert type(request).from_bytes(request.to_bytes(), "mine") == request
    assert attrs.evolve(request, race=None).to_bytes() != request.to_bytes()
    assert request.race.stage == len(RaceSession(SweepOptions(), STUDY, store).stages)
    assert all("permuted s" in why for why in request.race.stopped.values())
