"""Runs on a fake GPU, for every entry of the registries.

They show that all tensors of an operation are on one device, that the program does not
wait for the GPU while it trains, and that CUDA graphs capture nothing that they cannot.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_gpu import fake_gpu
from tests.trainables.test_conformance import (
    BASE_CASES,
    INTERVENTION_CASES,
    NETWORK_CASES,
    OPTIMIZER_CASES,
)
from trainables.control import base as control
from trainables.data import load
from trainables.data.dataset import NOTHING
from trainables.joint import JointRun
from trainables.learners import DQN
from trainables.optimizers import SAM
from trainables.probes import curvature
from trainables.problems import PROBLEMS, TD, CartPole, Grid
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.start import start_run
from trainables.steps import training
from trainables.steps.trainer import Trainer
from trainables.steps.training import MIN_STEPS

SMALL: dict[str, Any] = {"dataset": "mnist-5k", "tasks": 2, "hidden": (9, 7)}

CASES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": case} for name, case in OPTIMIZER_CASES.items()},
    **{name: {"base": case} for name, (case, _) in BASE_CASES.items()},
    **{name: {"intervention": case} for name, case in INTERVENTION_CASES.items()},
    **{name: {"problem": p()} for name, p in PROBLEMS.items() if not p().control},
    **{
        name: {"network": case, "hidden": case.hidden and (7,), "tasks": 1}
        for name, case in NETWORK_CASES.items()
    },
}


class CountingRun(ContinualRun):
    """A run that counts how often training waits for the GPU."""

    gpu: Any
    waits = 0

    def train(self, examples: Any) -> Any:
        before = self.gpu.waits
        measures = super().train(examples)
        self.waits += self.gpu.waits - before
        return measures


@pytest.mark.parametrize("name", CASES)
def test_every_part_trains_on_a_gpu(name, few, monkeypatch):
    monkeypatch.setattr(training, "GRAPH_STEPS", 2)  # to save time
    problem = CASES[name].get("problem")
    examples = 64 if problem is None else None
    fields = {"batch_size": 4, "examples": examples, **CASES[name]}
    setting = Setting(**{**SMALL, **fields})
    seeds = [0, 1]
    with fake_gpu(monkeypatch) as gpu:
        run = CountingRun(
            setting, seeds, few, "cuda", options=RunOptions(landscape_every=0)
        )
        run.gpu = gpu
        while not run.finished:
            rows = run.next_task()
    assert [row["device"] for row in rows] == ["fake"] * 2
    intervention = setting.intervention
    if setting.optimizer.branches or (intervention and intervention.steps):
        assert not gpu.graphs
    else:
        assert run.waits == 0
        assert gpu.graphs or rows[0]["steps"] < MIN_STEPS


CONTROL = {
    "td": {"problem": TD()},
    "ppo": {"problem": Grid(level_iterations=1)},
    "dqn": {"problem": CartPole(level_iterations=1), "learner": DQN()},
}


@pytest.mark.parametrize("name", CONTROL)
def test_control_runs_on_a_gpu(name, monkeypatch):
    monkeypatch.setattr(control, "STEPS", 3)
    fields = {"tasks": 1, "hidden": (8,), "batch_size": 64}
    setting = Setting(**fields, **CONTROL[name])
    options = RunOptions(landscape_every=1)
    with fake_gpu(monkeypatch):
        run = start_run(setting, [0, 1], load(NOTHING), "cuda", options=options)
        rows = run.next_task()
    assert [row["device"] for row in rows] == ["fake"] * 2


def test_the_landscape_is_measured_on_a_gpu(few, monkeypatch):
    monkeypatch.setattr(curvature, "STEPS", 3)
    with fake_gpu(monkeypatch):
        run = ContinualRun(
            Setting(**SMALL), [0, 1], few, "cuda", options=RunOptions(landscape_every=1)
        )
        rows = run.next_task()
    assert rows[0]["device"] == "fake"


def test_settings_train_together_on_a_gpu(few, monkeypatch):
    settings = [
        Setting(**SMALL, batch_size=4, optimizer=SAM(rho=rho)) for rho in (0.1, 0.2)
    ]
    train, waits = Trainer.train, []

    def counted(*args):
        before = gpu.waits
        measures = train(*args)
        waits.append(gpu.waits - before)
        return measures

    monkeypatch.setattr(Trainer, "train", counted)
    with fake_gpu(monkeypatch) as gpu:
        joint = JointRun(
            settings, [0, 1], few, "cuda", options=RunOptions(landscape_every=0)
        )
        while not joint.finished:
            joint.next_task()
    assert gpu.graphs == 2  # of one step, and of many steps
    assert waits == [0, 0]


def test_a_run_on_a_gpu_is_saved_and_resumed(few, monkeypatch):
    setting = Setting(**SMALL, optimizer=SAM(momentum=0.5))
    options = RunOptions(landscape_every=0)
    with fake_gpu(monkeypatch):
        run = ContinualRun(setting, [0, 1], few, "cuda", options=options)
        run.next_task()
        state = run.state_dict()
        assert {tensor.device.type for tensor in state["network"]} == {"cpu"}
        again = ContinualRun(setting, [0, 1], few, "cuda", options=options)
        again.load_state_dict(state)
        assert again.network.weights[0].is_cuda
        again.next_task()
