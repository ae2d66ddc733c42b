"""What a session does after its trials have ended, with Ray's part pretended."""

from __future__ import annotations

import contextlib

import pytest

from study.results.store import Store
from study.running import connection, nodes, shares, tuning
from study.running.session import StudySession
from study.running.shares import Shares
from study.spec.options import SweepOptions
from study.spec.studies import Study, grid
from trainables.optimizers import SAM, SGD
from trainables.problems import Permuted

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
        text = f"OutOfMemoryError: {tuning.OUT_OF_MEMORY}. Tried to allocate 2 GiB."
        return {trial.name: text for trial in trials if trial.runs > self.room}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path), "mine")


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
    assert bool(request.joint) == (room == 99)
