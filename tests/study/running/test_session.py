"""What a session does after its trials have ended, with a fake in place of Ray."""

from __future__ import annotations

import contextlib

import attrs
import pytest

from study.plan.trials import Trial
from study.racing.rule import Stage
from study.racing.session import StageSession
from study.results.store import Store
from study.running import connection, nodes, shares, tuning
from study.running.session import ConfirmationSession, StudySession
from study.running.shares import Shares
from study.spec.options import SweepOptions
from study.spec.studies import Study, grid
from tests.trainables.test_trainable import JOINT, actor, finish
from trainables.optimizers import SAM, SGD
from trainables.problems import Permuted
from trainables.request import Request, parse_stack_name, stack_name

STUDY = Study(
    "mine",
    grid(
        [Permuted()],
        [SGD(), *(SAM(rho=rho) for rho in (0.01, 0.02, 0.05))],
        dataset="mnist-5k",
        tasks=2,
    ),
    seeds=range(4),
)


class Cluster:
    """A cluster with one GPU, in whose memory `room` networks of a trial fit."""

    def __init__(self, monkeypatch, store, room):
        self.room, self.store = room, store
        self.sizes: list[list[int]] = []  # of the trials in each call of Tune
        own = Shares(cpus=1, gpus=1, slots=1, gpu_memory=1e10)
        monkeypatch.setattr(connection, "connected", self.connected)
        monkeypatch.setattr(nodes, "check_reach", lambda store: None)
        monkeypatch.setattr(shares, "share_out", lambda **options: own)
        monkeypatch.setattr(tuning, "run_trials", self.run_trials)

    @contextlib.contextmanager
    def connected(self, address, study):
        yield

    def run_trials(self, tally, **options):
        trials = tally.trials.values()
        self.sizes.append(sorted(trial.runs for trial in trials))
        text = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
        return {trial.name: text for trial in trials if trial.runs > self.room}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path), "mine")


@pytest.fixture
def interrupted(store, few):
    """The results of a study whose only trial has finished two of its tasks."""
    study = Study("mine", JOINT.settings, JOINT.seeds)
    request = Request(study="mine").with_settings(study.rows(), study.seeds)
    request = request.with_stacks(study.rows(), [JOINT.name], 1, [JOINT.setting_ids])
    store.save_request(request)
    trial = actor(store, few, JOINT, every=1)
    trial.train()
    trial.train()
    return study


ALONE = [Trial(setting, JOINT.seeds) for setting in JOINT.settings]


@pytest.mark.parametrize(
    "change",
    ["no gpu", "--stack", "too large", "fewer settings", "fewer seeds", "a race"],
)
def test_a_joint_checkpoint_is_split_if_it_cannot_resume(
    change, interrupted, store, few
):
    study, memory, options = interrupted, 1e10, SweepOptions()
    if change == "no gpu":
        memory = None
    elif change == "--stack":
        options = SweepOptions(stack="2")
    elif change == "fewer settings":
        study = attrs.evolve(study, settings=study.settings[:1])
    elif change == "fewer seeds":
        study = attrs.evolve(study, seeds=study.seeds[:1])
    if change == "a race":
        session = StageSession(options, study, store, Stage(JOINT.seeds, share=1.0))
    else:
        session = StudySession(options, study, store)
        session.most_networks = 3 if change == "too large" else None
        session._split_joint(memory)
    names = {stack_name(*stack) for stack in store.interrupted_stacks()}
    assert names == {trial.name for trial in ALONE}
    assert [check.faults for check in store.check_files()] == [()] * 2
    for trial in ALONE:
        results = finish(actor(store, few, trial))
        assert results[0]["tasks_done"] == 3
    assert len(store.finished_runs()) == 4
    assert StudySession(SweepOptions(), interrupted, store).left == 0


def test_a_joint_checkpoint_is_kept_if_it_can_resume(interrupted, store):
    """Also if another command needs the same settings with other seeds."""
    session = StudySession(SweepOptions(), interrupted, store)
    others = attrs.evolve(interrupted, seeds=(7, 8))
    confirming = ConfirmationSession(SweepOptions(), others, store)
    for each in (session, confirming):
        each._split_joint(1e10)
        assert store.interrupted_stacks() == [parse_stack_name(JOINT.name)]
    tally, _, request = confirming._prepare(Shares(1, 1, 1, 1e10))
    assert [trial.runs for trial in tally.trials.values()] == [4]
    store.save_request(request)
    again = StudySession(SweepOptions(), interrupted, store)
    assert again.plan(1, 1e10) == [JOINT]
    store.drop_state(JOINT.name)
    for gpu_memory, trials in ((1e10, [JOINT]), (None, ALONE)):
        planned = StudySession(SweepOptions(), interrupted, store).plan(1, gpu_memory)
        assert sorted(map(str, planned)) == sorted(map(str, trials))


def test_runs_of_a_trial_are_counted_once(interrupted, store, few):
    """The trial was killed between writing the records of its two settings."""
    finish(actor(store, few, ALONE[0]))
    session = StudySession(SweepOptions(), interrupted, store)
    tally, *_ = session._prepare(Shares(1, 1, 1, 1e10))
    assert list(tally.trials) == [JOINT.name]
    assert tally.line().startswith("runs 0/4, tasks 0/16")


def test_a_damaged_checkpoint_is_left_where_it_is(interrupted, store):
    store.save_state(JOINT.name, b"odd")
    StudySession(SweepOptions(), interrupted, store)._split_joint(None)
    assert store.interrupted_stacks() == [parse_stack_name(JOINT.name)]


@pytest.mark.parametrize(
    ("room", "sizes"),
    [
        (99, [[4, 12]]),
        (11, [[4, 12], [4, 4, 4, 4]]),
        (3, [[4, 12], [4, 4, 4, 4], [2] * 8]),
        (0, [[4, 12], [4, 4, 4, 4], [2] * 8, [1] * 16]),
    ],
)
def test_trials_that_lack_gpu_memory_start_again_and_are_smaller(
    room, sizes, store, monkeypatch, capsys
):
    cluster = Cluster(monkeypatch, store, room)
    session = StudySession(SweepOptions(), STUDY, store)
    failures = session._run_left()
    assert cluster.sizes == sizes
    assert len(failures) == (16 if room == 0 else 0)
    said = capsys.readouterr().out
    assert said.count("ran out of GPU memory") == len(sizes) - 1
    request = store.load_request()
    planned = {trial.name for trial in session.plan(1, 1e10)}
    assert set(request.stacks) == planned
    assert set(request.joint.values()) == {
        tuple(setting.setting_id for setting in STUDY.settings[1:])
    }
