"""Schedules of rho: their values, their steps and whole runs."""

from __future__ import annotations

import math

import attrs
import pytest

from tests.support.updates import batches, distance, stack_of
from trainables.bases import Adam
from trainables.data import Dataset
from trainables.optimizers import ASAM, SAM
from trainables.problems import Pairwise
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.steps.update import STEPS, begin_task, make_update

engines = pytest.mark.parametrize("engine", STEPS)


def test_without_a_schedule_nothing_is_kept():
    stack = stack_of(Setting(optimizer=SAM()), [3])
    assert not stack.memory.named()
    assert SAM().is_mixture
    assert SAM().radius(stack.memory) == 0.05
    assert not SAM(rho_warmup=1).is_mixture


@pytest.mark.parametrize(
    ("decay", "levels"),
    [
        (None, [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
    ],
)
def test_rho_rises_in_each_task_and_falls_along_the_stream(decay, levels):
    optimizer = SAM(rho=0.2, rho_warmup=3, rho_decay=decay)
    setting = Setting(optimizer=optimizer, tasks=4)
    stack = stack_of(setting, [3, 5])
    for stack.task, level in enumerate(levels):
        begin_task(setting, stack)
        for rise in (1 / 3, 2 / 3, 1, 1):
            optimizer.count(stack.memory)
            radius = optimizer.radius(stack.memory)
            assert radius.flatten().tolist() == pytest.approx([0.2 * level * rise] * 2)


@engines
@pytest.mark.parametrize("base", [None, Adam()])
@pytest.mark.parametrize("follows", [None, "lr"])
@pytest.mark.parametrize("kind", [SAM, ASAM])
def test_a_scheduled_step_is_that_of_its_rho(kind, follows, base, engine):
    optimizer = kind(rho_warmup=4, rho_follows=follows, lr=0.01, weight_decay=0.01)
    setting = Setting(optimizer=optimizer, base=base)
    scheduled, constant = stack_of(setting, [3, 5]), stack_of(setting, [3, 5])
    for i, (x, y) in enumerate(batches(6, 2)):
        make_update(setting, engine, scheduled)(x, y)
        share = min(1, (i + 1) / 4)
        now = {"rho": optimizer.rho * share, "rho_warmup": None, "rho_follows": None}
        if follows:
            now["lr"] = 0.01 * share
        step = attrs.evolve(setting, optimizer=attrs.evolve(optimizer, **now))
        make_update(step, engine, constant)(x, y)
    assert distance(scheduled.network, constant.network) < 1e-12


def test_a_scheduled_run_is_the_same_when_stopped_and_gone_on_with(few: Dataset):
    setting = Setting(
        optimizer=SAM(rho_warmup=5, rho_decay="linear"),
        problem=Pairwise(),
        dataset="mnist-5k",
        tasks=3,
        batch_size=6,
        hidden=(12, 10),
    )
    options = RunOptions(landscape_every=0)
    straight = ContinualRun(setting, [5, 0, 2], few, options=options)
    other = ContinualRun(setting, [5, 0, 2], few, options=options)
    for _ in range(3):
        straight.next_task()
        state = other.state_dict()
        other = ContinualRun(setting, [5, 0, 2], few, options=options)
        other.load_state_dict(state)
        other.next_task()
    assert distance(straight.network, other.network) == 0
