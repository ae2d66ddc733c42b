"""A run of control that is killed in the middle of a level goes on to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pyarrow.parquet as pq
import pytest

from study.plan.trials import Trial
from study.results.store import Store
from trainables.bases import Adam
from trainables.control.base import ControlRun
from trainables.data import load
from trainables.learners import DQN
from trainables.optimizers import SGD
from trainables.problems import CartPole
from trainables.setting import RunOptions, Setting
from trainables.start import start_run
from trainables.steps import native
from trainables.trainable import ContinualTrainable

SMALL = Setting(
    problem=CartPole(level_iterations=2, iteration_steps=80),
    tasks=2,
    epochs=2,
    batch_size=32,
    hidden=(12,),
    optimizer=SGD(lr=0.003),
    base=Adam(),
)
LEARNERS = {"ppo": None, "dqn": DQN(replay_size=64, replay_start=40, target_steps=48)}
ITERATION = 1
"""The iteration of the second level in whose middle the process is killed."""


def trial_of(learner: str) -> Trial:
    return Trial(attrs.evolve(SMALL, learner=LEARNERS[learner]), (0, 3))


def actor(store: Store, trial: Trial) -> ContinualTrainable:
    class Local(ContinualTrainable):
        def setup(self, config):
            options = RunOptions(checkpoint_every=1, landscape_every=0)
            super().setup(config, {"none": load("none")}, store, options)

    return Local({"trial": trial.config(cpus=1, gpus=0)})


def run_into_the_second_level(store: Store, learner: str, die: Callable[[], None]):
    """Run a trial, and call `die` with a part of a level trained."""
    made, train, counts = ControlRun._make_update, native.train_on_steps, []

    def count(task, per_iteration):
        if task == 1:
            counts.append(1)
            if len(counts) > ITERATION * per_iteration:
                die()

    def make_update(self, gradient_of):
        update = made(self, gradient_of)

        def counted(*batch):
            count(self.task, 20)
            return update(*batch)

        return counted

    def train_on_steps(setting, stack, *steps):
        count(stack.task, 4)  # two epochs, whose last batch is smaller
        train(setting, stack, *steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ControlRun, "_make_update", make_update)
        patch.setattr(native, "train_on_steps", train_on_steps)
        trainable = actor(store, trial_of(learner))
        while not trainable.train()["done"]:
            pass


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize(
    "end", ["interrupted", pytest.param("killed", marks=pytest.mark.chaos)]
)
def test_a_run_that_ends_within_a_level_goes_on_to_the_last_bit(tmp_path, learner, end):
    """A process is killed only with `-m chaos`, because its start is slow."""
    trial, results = trial_of(learner), str(tmp_path / "results")
    if end == "killed":
        words = [sys.executable, "-m", __name__, results, learner]
        killed = subprocess.run(words, cwd=Path(__file__).parents[3], timeout=300)
        assert killed.returncode == -signal.SIGKILL
    else:
        with pytest.raises(KeyboardInterrupt):
            run_into_the_second_level(Store(results, "mine"), learner, interrupt)
    store = Store(results, "mine")
    assert len(store.checkpoint_records(trial.name)) == 2  # two seeds, one level
    assert not store.finished_runs()
    trainable = actor(store, trial)
    result = trainable.train()
    assert (result["tasks_done"], result["done"]) == (2, True)
    run = start_run(
        trial.setting,
        trial.seeds,
        load("none"),
        options=RunOptions(landscape_every=0),
    )
    expected = [row for _ in range(2) for row in run.next_task()]
    path = Path(store.location(), "records", f"{trial.name}.parquet")
    rows = pq.read_table(path).to_pylist()
    for row, own in zip(rows, expected, strict=True):
        for name in own.keys() - {"seconds"}:
            assert row[name] == own[name], name


if __name__ == "__main__":
    run_into_the_second_level(Store(sys.argv[1], "mine"), sys.argv[2], kill)
