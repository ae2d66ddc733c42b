"""The adapter: checkpoints to the last bit, actors used again, records written once.

Tune calls these methods in an actor; they are called here without Ray.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import threading
import time
from pathlib import Path

import attrs
import pyarrow.parquet as pq
import pytest
import torch

from study.plan.trials import Trial
from study.results.store import Store
from trainables import checkpoint
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Pairwise
from trainables.request import joint_id
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError

TASKS = 4
COMMON = {"dataset": "mnist-5k", "tasks": TASKS, "hidden": (6,), "batch_size": 8}
PERMUTED = Trial(Setting(optimizer=SGD(momentum=0.9), **COMMON), (0, 3))
PAIRWISE = Trial(Setting(problem=Pairwise(), optimizer=GNP(), **COMMON), (1,))
NOT_BITS = {"seconds", "trial_id"}


def actor(store, few, trial=PERMUTED, every=None, landscape_every=0, **options):
    class Local(ContinualTrainable):
        def setup(self, config):
            shared = RunOptions(
                checkpoint_every=every, landscape_every=landscape_every, **options
            )
            super().setup(config, {"mnist-5k": few}, store, shared)

    return Local({"trial": trial.config(cpus=1, gpus=0)})


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch):
    """A store that works is waited for, however slow this machine is."""
    monkeypatch.setattr("trainables.trainable.SAVE_SECONDS", 60.0)


def finish(trainable):
    results = [trainable.train()]
    while not results[-1]["done"]:
        results.append(trainable.train())
    return results


def written(store, trial):
    path = Path(store.location(), "records", f"{trial.name}.parquet")
    rows = pq.read_table(path).to_pylist()
    return [{k: v for k, v in row.items() if k not in NOT_BITS} for row in rows]


PLAIN = {}
"""What `plain` has returned."""


def plain(few, trial, landscape_every=0):
    """The records of a run that knows nothing of Ray."""
    if (trial, landscape_every) not in PLAIN:
        options = RunOptions(landscape_every=landscape_every)
        run = ContinualRun(trial.setting, trial.seeds, few, options=options)
        rows = [row for _ in range(TASKS) for row in run.next_task()]
        PLAIN[trial, landscape_every] = [
            {"study": "mine"} | {k: v for k, v in row.items() if k not in NOT_BITS}
            for row in rows
        ]
    return PLAIN[trial, landscape_every]


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "results"), "mine")


def test_records_are_those_of_the_plain_run(store, few):
    results = finish(actor(store, few, PAIRWISE, landscape_every=10))
    assert [r["tasks_done"] for r in results] == [1, 2, 3, 4]
    assert [r["runs_diverged"] for r in results] == [0] * 4
    assert written(store, PAIRWISE) == plain(few, PAIRWISE, landscape_every=10)


@pytest.mark.parametrize("pause", [3, TASKS])
def test_a_trial_that_pauses_goes_on_to_the_last_bit(store, few, pause):
    trial = attrs.evolve(PERMUTED, until=pause)
    results = finish(actor(store, few, trial))
    assert [result["tasks_done"] for result in results] == [*range(1, pause + 1)]
    if pause < TASKS:
        assert store.interrupted_stacks() == [(trial.setting.setting_id, (0, 3))]
        assert len(store.checkpoint_records(trial.name)) == 2 * pause
        # to ask again trains nothing
        assert [r["tasks_done"] for r in finish(actor(store, few, trial))] == [pause]
    finish(actor(store, few))
    assert written(store, PERMUTED) == plain(few, PERMUTED)


def test_the_landscape_is_looked_at_as_often_as_told(store, few):
    """Also where a checkpoint is of no use, and the run begins anew."""
    store.save_state(PERMUTED.name, b"odd")
    finish(actor(store, few, landscape_every=2))
    rows = written(store, PERMUTED)
    known = {row["task"] for row in rows if row["start_sharpness"] is not None}
    assert known == {0, 2, 3}


def test_the_title_of_the_process_says_which_task_it_learns(store, few, monkeypatch):
    titles = []
    monkeypatch.setattr("trainables.trainable.setproctitle", titles.append)
    finish(actor(store, few))
    assert titles == []  # the process is not Ray's
    monkeypatch.setattr("trainables.trainable.getproctitle", lambda: "ray::X.train")
    finish(actor(store, few, PAIRWISE))
    assert titles == [
        f"ray::X.train pairwise gnp lr=0.01 rho=0.05 alpha=0.8, seeds 1: task {i} of 4"
        for i in (1, 2, 3, 4)
    ]


def test_what_is_reported_is_the_mean_over_the_seeds(store, few):
    last = finish(actor(store, few))[-1]
    rows = [r for r in plain(few, PERMUTED) if r["task"] == TASKS - 1]
    mean = sum(r["test_accuracy"] for r in rows) / 2
    assert math.isclose(last["levels"][0], mean)
    assert last["name"] == PERMUTED.name


def test_what_was_killed_goes_on_where_it_was(store, few):
    first = actor(store, few, every=1)
    first.train()
    first.train()
    kept = store.load_state(PERMUTED.name)
    assert checkpoint.pack(first._run, first._records) == kept
    # no cleanup: it was killed
    second = actor(store, few)
    assert second.train()["tasks_done"] == 3
    finish(second)
    assert written(store, PERMUTED) == plain(few, PERMUTED)
    assert store.load_state(PERMUTED.name) is None


JOINT = Trial(
    Setting(optimizer=SAM(momentum=0.5), **COMMON),
    (0, 3),
    partners=(Setting(optimizer=GNP(lr=0.1, momentum=0.5), **COMMON),),
)
"""Two settings that train together."""


def written_together(store, trial):
    alone = [Trial(setting, trial.seeds) for setting in trial.settings]
    return [written(store, each) for each in alone]


def test_settings_that_train_together_have_their_own_records(store, few):
    last = finish(actor(store, few, JOINT))[-1]
    records = written_together(store, JOINT)
    for rows, setting, level in zip(
        records, JOINT.settings, last["levels"], strict=True
    ):
        alone = plain(few, Trial(setting, JOINT.seeds))
        assert [row["run_id"] for row in rows] == [row["run_id"] for row in alone]
        for own, other in zip(rows, alone, strict=True):
            assert own["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert level == pytest.approx(sum(r["test_accuracy"] for r in rows[-2:]) / 2)
    assert last["alive"] == [2, 2]
    assert store.interrupted_stacks() == []


def test_a_joint_trial_that_was_killed_goes_on_to_the_last_bit(store, few, tmp_path):
    whole = Store(str(tmp_path / "whole"), "mine")
    finish(actor(whole, few, JOINT))
    first = actor(store, few, JOINT, every=1)
    first.train()
    first.train()
    stack_id = joint_id(JOINT.setting_ids)
    assert store.interrupted_stacks() == [(stack_id, (0, 3))]
    assert [check.faults for check in store.check_files()] == [()]
    second = actor(store, few, JOINT)
    assert second.train()["tasks_done"] == 3
    finish(second)
    assert written_together(store, JOINT) == written_together(whole, JOINT)


def test_a_joint_trial_that_was_killed_between_two_files_writes_both(store, few):
    class Killed(Exception):
        pass

    class Half(Store):
        def write_records(self, records):
            if records[0]["setting_id"] == JOINT.setting_ids[1]:
                raise Killed
            super().write_records(records)

    half = Half(store.results, store.study)
    first = actor(half, few, JOINT, every=1)
    with pytest.raises(Killed):
        finish(first)
    assert store.finished_runs() == {JOINT.setting.run_id(seed) for seed in (0, 3)}
    before = written(store, Trial(JOINT.setting, JOINT.seeds))
    finish(actor(store, few, JOINT))
    assert written_together(store, JOINT)[0] == before
    assert len(store.finished_runs()) == 4


def test_a_checkpoint_of_other_settings_is_not_used(store, few):
    other = attrs.evolve(JOINT, partners=())
    first = actor(store, few, other, every=1)
    first.train()
    store.save_state(JOINT.name, store.load_state(other.name))
    results = finish(actor(store, few, JOINT))
    assert "the checkpoint has 1 settings, but the run has 2" in results[0]["warning"]
    store.save_state("f00d-seeds-0+3", store.load_state(other.name) or b"")
    faults = {check.path: check.faults for check in store.check_files()}
    assert faults["checkpoints/f00d-seeds-0+3.pt"]


def test_what_is_stopped_in_the_middle_keeps_what_it_has_done(store, few):
    first = actor(store, few)
    first.train()
    assert store.load_state(PERMUTED.name) is None
    first.stop()
    assert actor(store, few).train()["tasks_done"] == 2


def test_what_has_done_nothing_or_all_keeps_nothing(store, few):
    actor(store, few).stop()
    assert not Path(store.location()).exists()
    done = actor(store, few)
    finish(done)
    done.stop()
    assert store.interrupted_stacks() == []


@pytest.mark.parametrize(("every", "kept"), [(1, [1, 2, 3]), (2, [2]), (3, [3])])
def test_checkpoints_come_every_so_many_tasks(store, few, every, kept):
    trainable = actor(store, few, every=every)
    seen = []
    before = None
    while not (result := trainable.train())["done"]:
        state = store.load_state(PERMUTED.name)
        if state != before:
            seen.append(trainable._run.task)
        before = state
        assert result["tasks_saved"] == max([0, *seen])
    assert seen == kept
    assert result["tasks_saved"] == TASKS


def test_without_a_number_checkpoints_come_every_minute(store, few):
    trainable = actor(store, few)
    trainable.train()
    assert store.load_state(PERMUTED.name) is None
    trainable._saved_at = time.monotonic() - 61
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
    assert results[-1]["levels"] == [None]
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
    config = PERMUTED.config(cpus=1, gpus=0)
    config["setting"]["momentun"] = 0.5
    with pytest.raises(UsageError, match="did you mean 'momentum'"):
        actor(store, few).reset({"trial": config})


@attrs.frozen
class Failing(Store):
    """A store whose methods fail while their names are in `broken`."""

    broken: set[str] = attrs.field(factory=set, kw_only=True)

    def _maybe(self, what):
        if what in self.broken:
            raise OSError(28, "No space left on device")

    def write_records(self, records):
        self._maybe("write")
        super().write_records(records)

    def save_state(self, name, state):
        self._maybe("save")
        super().save_state(name, state)

    def load_state(self, name):
        self._maybe("load")
        return super().load_state(name)

    def drop_state(self, name):
        self._maybe("drop")
        super().drop_state(name)


FULL = "OSError: [Errno 28] No space left on device"


@pytest.fixture
def failing(tmp_path, monkeypatch):
    monkeypatch.setattr("trainables.patience.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("trainables.patience.LONGEST_PAUSE", 0.02)
    return Failing(str(tmp_path / "results"), "mine")


def test_training_goes_on_without_checkpoints_and_makes_up_for_them(failing, few):
    trainable = actor(failing, few, every=2)
    failing.broken.add("save")
    said = [trainable.train() for _ in range(2)]
    assert [r["waiting"] for r in said] == [None, FULL]
    assert [r["tasks_saved"] for r in said] == [0, 0]
    failing.broken.clear()
    result = trainable.train()  # not due, but late
    assert (result["waiting"], result["tasks_saved"]) == (None, 3)
    finish(trainable)
    assert written(failing, PERMUTED) == plain(few, PERMUTED)


def test_a_checkpoint_that_cannot_be_deleted_holds_nothing_up(failing, few):
    failing.broken.add("drop")
    results = finish(actor(failing, few, every=1))
    assert [r["waiting"] for r in results] == [None] * TASKS
    assert written(failing, PERMUTED) == plain(few, PERMUTED)


def test_records_that_cannot_be_written_are_tried_again(failing, few):
    trainable = actor(failing, few)
    failing.broken.add("write")
    results = [trainable.train() for _ in range(TASKS + 3)]
    assert [r["waiting"] for r in results] == [None] * (TASKS - 1) + [FULL] * 4
    assert [r["done"] for r in results[:TASKS]] == [False] * TASKS
    assert results[-1]["tasks_done"] == TASKS
    failing.broken.clear()
    last = trainable.train()
    assert (last["waiting"], last["done"]) == (None, True)
    assert written(failing, PERMUTED) == plain(few, PERMUTED)
    assert failing.interrupted_stacks() == []


def test_a_checkpoint_that_cannot_be_read_yet_is_waited_for(failing, few):
    first = actor(failing, few, every=1)
    first.train()
    first.train()
    failing.broken.add("load")
    second = actor(failing, few)
    assert [second.train()["tasks_done"] for _ in range(3)] == [0, 0, 0]
    failing.broken.clear()
    assert second.train()["tasks_done"] == 3
    finish(second)
    assert written(failing, PERMUTED) == plain(few, PERMUTED)


def test_what_fails_for_too_long_fails_the_trial_and_its_state_stands(failing, few):
    trainable = actor(failing, few, every=1, patience=0.05)
    for _ in range(TASKS - 1):
        trainable.train()
    failing.broken.add("write")
    with pytest.raises(OSError, match="No space left"):
        finish(trainable)
    failing.broken.clear()
    again = actor(failing, few)
    assert again.train()["tasks_done"] == TASKS
    assert written(failing, PERMUTED) == plain(few, PERMUTED)


def test_stopped_while_waiting_it_keeps_the_whole_run(failing, few):
    trainable = actor(failing, few)
    failing.broken.add("write")
    for _ in range(TASKS + 1):
        trainable.train()
    trainable.stop()
    failing.broken.clear()
    again = actor(failing, few)
    assert again.train()["done"]
    assert written(failing, PERMUTED) == plain(few, PERMUTED)
    failing.broken.add("save")
    other = actor(failing, few, PAIRWISE)
    other.train()
    other.stop()  # with nothing to keep it in: no error


def spoil(state, how):
    if how == "half":
        return state[: len(state) // 2]
    if how == "bit":
        content = bytearray(state)
        content[len(content) // 3] ^= 4  # in a tensor: torch itself would not see it
        return bytes(content)
    if how == "code":
        return pickle.dumps(Path("x"))
    whole = torch.load(io.BytesIO(state), weights_only=True)
    if how == "setting":
        whole["run"]["setting"]["lr"] = 0.5
    elif how == "seeds":
        whole["run"]["seeds"] = [0, 4]
    elif how == "rows":
        del whole["records"][-1]
    elif how == "columns":
        del whole["records"][-1]["steps"]
    elif how == "shape":
        whole["run"]["network"] = [t[:, :1] for t in whole["run"]["network"]]
    elif how == "list":
        whole = [1, 2]
    sink = io.BytesIO()
    torch.save(whole, sink)
    return {"empty": b"", "text": b"x" * 100}.get(how, sink.getvalue())


@pytest.mark.parametrize(
    "how",
    [
        "half",
        "bit",
        "empty",
        "text",
        "code",
        "setting",
        "seeds",
        "rows",
        "columns",
        "shape",
        "list",
    ],
)
def test_a_checkpoint_that_is_not_this_runs_is_not_used(store, few, how):
    first = actor(store, few, every=1)
    first.train()
    first.train()
    store.save_state(PERMUTED.name, spoil(store.load_state(PERMUTED.name), how))
    results = finish(actor(store, few))
    assert [r["tasks_done"] for r in results] == [1, 2, 3, 4]
    assert results[0]["warning"].startswith(
        "restarted, because the checkpoint cannot be used: "
    )
    assert "\n" not in results[0]["warning"]
    assert written(store, PERMUTED) == plain(few, PERMUTED)
    assert store.interrupted_stacks() == []


def test_a_change_of_engine_is_said(store, few, monkeypatch):
    first = actor(store, few, every=1)
    first.train()
    monkeypatch.setenv("PLASTICITY_ENGINE", "reference")
    warning = finish(actor(store, few))[0]["warning"]
    assert warning == (
        "continues with engine reference; the tasks so far used engine "
        f"{first._run.engine}"
    )


def test_a_strangers_checkpoint_runs_no_code(store, few, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    sink = io.BytesIO()
    torch.save({"run": Evil(), "records": []}, sink)
    store.save_state(PERMUTED.name, sink.getvalue())
    assert finish(actor(store, few))[0]["warning"]
    assert not (tmp_path / "evil").exists()
    torch.load(io.BytesIO(sink.getvalue()), weights_only=False)
    assert (tmp_path / "evil").exists()  # it would have


def test_a_checkpoint_names_nobody(store, few):
    first = actor(store, few, every=1)
    first.train()
    content = store.load_state(PERMUTED.name)
    for private in (os.uname().nodename, str(Path.home())):
        assert private.encode() not in content


@attrs.frozen
class Hanging(Failing):
    """A store whose methods named in `hangs` do not answer until `answer` is set."""

    hangs: set[str] = attrs.field(factory=set, kw_only=True)
    answer: threading.Event = attrs.field(factory=threading.Event, kw_only=True)

    def _maybe(self, what):
        if what in self.hangs:
            assert self.answer.wait(20)


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    monkeypatch.setattr("trainables.trainable.SAVE_SECONDS", 0.01)
    monkeypatch.setattr("trainables.trainable.NOTICE_SECONDS", 0.05)
    monkeypatch.setattr("trainables.patience.FIRST_PAUSE", 0.01)
    return Hanging(str(tmp_path / "results"), "mine")


SILENT = "TimeoutError: the storage has not answered for "


def test_training_goes_on_while_a_checkpoint_hangs(hanging, few):
    trainable = actor(hanging, few, every=1)
    hanging.hangs.add("save")
    first = trainable.train()
    assert (first["tasks_done"], first["tasks_saved"]) == (1, 0)
    time.sleep(0.05)
    second = trainable.train()
    assert (second["tasks_done"], second["tasks_saved"]) == (2, 0)
    assert second["waiting"].startswith(SILENT)
    hanging.answer.set()
    call, _ = trainable._saving
    assert call.has_ended(20)
    third = trainable.train()
    # what was saved is the state after the first task
    assert (third["tasks_done"], third["tasks_saved"]) == (3, 1)
    assert third["waiting"] is None
    resumed = actor(hanging, few)
    assert resumed.train()["tasks_done"] == 2
    finish(trainable)
    assert written(hanging, PERMUTED) == plain(few, PERMUTED)
    assert hanging.interrupted_stacks() == []


def test_what_is_stopped_while_a_checkpoint_hangs_saves_all_it_has_done(hanging, few):
    trainable = actor(hanging, few, every=1)
    hanging.hangs.add("save")
    trainable.train()
    trainable.train()
    hanging.answer.set()
    trainable.stop()
    assert actor(hanging, few).train()["tasks_done"] == 3


@pytest.mark.parametrize("what", ["load", "write"])
def test_a_trial_says_that_it_waits_for_an_answer_and_goes_on(hanging, few, what):
    trainable = actor(hanging, few)
    hanging.hangs.add(what)
    results = [trainable.train()]
    while not results[-1]["waiting"]:
        results.append(trainable.train())
    assert results[-1]["waiting"].startswith(SILENT)
    assert not results[-1]["done"]
    hanging.answer.set()
    finish(trainable)
    assert written(hanging, PERMUTED) == plain(few, PERMUTED)
