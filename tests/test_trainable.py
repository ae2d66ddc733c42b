"""The adapter: checkpoints to the last bit, actors used again, records written once.

Tune calls these methods in an actor; they are called here without Ray.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from study.plan import Trial
from study.store import Store
from trainables.command_line import UsageError
from trainables.optimizers import GNP, SGD
from trainables.problems import Pairwise
from trainables.run import ContinualRun
from trainables.setting import Setting
from trainables.trainable import ContinualTrainable

TASKS = 4
COMMON = {"dataset": "mnist-5k", "tasks": TASKS, "hidden": (6,), "batch_size": 8}
PERMUTED = Trial(Setting(optimizer=SGD(momentum=0.9), **COMMON), (0, 3))
PAIRWISE = Trial(Setting(problem=Pairwise(), optimizer=GNP(), **COMMON), (1,))
NOT_BITS = {"seconds", "trial_id"}


def actor(store, few, trial=PERMUTED, every=None):
    class Local(ContinualTrainable):
        def setup(self, config):
            super().setup(config, {"mnist-5k": few}, store, every)

    return Local({"trial": trial.config(cpus=1, gpus=0)})


def finish(trainable):
    results = [trainable.train()]
    while not results[-1]["done"]:
        results.append(trainable.train())
    return results


def written(store, trial):
    path = Path(store.place, "records", f"{trial.name}.parquet")
    rows = pq.read_table(path).to_pylist()
    return [{k: v for k, v in row.items() if k not in NOT_BITS} for row in rows]


def plain(few, trial):
    """The records of a run that knows nothing of Ray."""
    run = ContinualRun(trial.setting, trial.seeds, few)
    rows = [row for _ in range(TASKS) for row in run.next_task()]
    return [
        {"study": "mine"} | {k: v for k, v in row.items() if k not in NOT_BITS}
        for row in rows
    ]


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "results"), "mine")


@pytest.mark.parametrize("trial", [PERMUTED, PAIRWISE], ids=lambda t: t.label)
def test_records_are_those_of_the_plain_run(store, few, trial):
    results = finish(actor(store, few, trial))
    assert [r["tasks_done"] for r in results] == [1, 2, 3, 4]
    assert [r["runs_diverged"] for r in results] == [0] * 4
    assert written(store, trial) == plain(few, trial)


def test_what_is_reported_is_the_mean_over_the_seeds(store, few):
    last = finish(actor(store, few))[-1]
    rows = [r for r in plain(few, PERMUTED) if r["task"] == TASKS - 1]
    mean = sum(r["test_accuracy"] for r in rows) / 2
    assert math.isclose(last["test_accuracy"], mean)
    assert last["name"] == PERMUTED.name


def test_a_checkpoint_restores_run_and_rows_to_the_last_bit(store, few, tmp_path):
    first = actor(store, few)
    first.train()
    first.train()
    first.save(str(tmp_path / "kept"))
    other = actor(Store(str(tmp_path / "other"), "mine"), few)
    other.restore(str(tmp_path / "kept"))
    assert other.step()["tasks_done"] == 3
    finish(other)
    assert written(other._keeper, PERMUTED) == plain(few, PERMUTED)


def test_what_was_killed_goes_on_where_it_was(store, few):
    first = actor(store, few, every=1)
    first.train()
    first.train()
    kept = store.load_state(PERMUTED.name)
    assert first._state() == kept
    # no cleanup: it was killed
    second = actor(store, few)
    assert second.train()["tasks_done"] == 3
    finish(second)
    assert written(store, PERMUTED) == plain(few, PERMUTED)
    assert store.load_state(PERMUTED.name) is None


def test_what_is_stopped_in_the_middle_keeps_what_it_has_done(store, few):
    first = actor(store, few)
    first.train()
    assert store.load_state(PERMUTED.name) is None
    first.stop()
    assert actor(store, few).train()["tasks_done"] == 2


def test_what_has_done_nothing_or_all_keeps_nothing(store, few):
    actor(store, few).stop()
    assert not Path(store.place).exists()
    done = actor(store, few)
    finish(done)
    done.stop()
    assert store.interrupted() == []


@pytest.mark.parametrize(("every", "kept"), [(1, [1, 2, 3]), (2, [2]), (3, [3])])
def test_checkpoints_come_every_so_many_tasks(store, few, every, kept):
    trainable = actor(store, few, every=every)
    seen = []
    before = None
    while not trainable.train()["done"]:
        state = store.load_state(PERMUTED.name)
        if state != before:
            seen.append(trainable._run.task)
        before = state
    assert seen == kept


def test_without_a_number_checkpoints_come_every_minute(store, few):
    trainable = actor(store, few)
    trainable.train()
    assert store.load_state(PERMUTED.name) is None
    trainable._kept = time.monotonic() - 61
    trainable.train()
    assert store.load_state(PERMUTED.name) is not None


def test_an_actor_used_again_makes_the_records_of_a_fresh_one(store, few):
    trainable = actor(store, few, PERMUTED)
    trainable.train()  # left in the middle
    assert trainable.reset({"trial": PAIRWISE.config(cpus=1, gpus=0)}) is True
    finish(trainable)
    assert written(store, PAIRWISE) == plain(few, PAIRWISE)
    trainable.reset({"trial": PERMUTED.config(cpus=1, gpus=0)})
    finish(trainable)
    assert written(store, PERMUTED) == plain(few, PERMUTED)


def test_a_finished_trial_may_be_asked_for_another_step(store, few):
    trainable = actor(store, few)
    finish(trainable)
    assert trainable.step()["done"]
    assert written(store, PERMUTED) == plain(few, PERMUTED)


def test_a_run_that_diverges_is_a_result(store, few):
    trial = Trial(Setting(optimizer=SGD(lr=1e30), **COMMON), (0, 1))
    results = finish(actor(store, few, trial))
    assert [r["runs_diverged"] for r in results] == [2] * TASKS
    assert results[-1]["test_accuracy"] is None
    assert all(row["diverged"] for row in written(store, trial))


def test_a_trial_asks_for_what_its_config_says():
    config = {"trial": PERMUTED.config(cpus=2, gpus=0.25)}
    request = ContinualTrainable.default_resource_request(config)
    assert request.required_resources == {"CPU": 2, "GPU": 0.25}
    config = {"trial": PERMUTED.config(cpus=0.5, gpus=0)}
    request = ContinualTrainable.default_resource_request(config)
    assert request.required_resources == {"CPU": 0.5}


def test_threads_are_the_trials_cpus(store, few):
    before = torch.get_num_threads()
    try:
        for cpus, threads in ((2, 2), (0.5, 1), (1, 1)):
            config = {"trial": PERMUTED.config(cpus=cpus, gpus=0)}
            actor(store, few).reset(config)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_config_with_a_typo_is_refused(store, few):
    config = PERMUTED.config(cpus=1, gpus=0) | {"momentun": 0.5}
    with pytest.raises(UsageError, match="did you mean 'momentum'"):
        actor(store, few).reset({"trial": config})
