"""The benchmark times what it says, and saves the rates that it measured."""

import inspect
import json

import attrs
import numpy as np
import pytest
import torch

from study.benchmark.__main__ import parse_numbers
from study.benchmark.steps import (
    interleave,
    our_loop,
    products,
    repeat_images,
    step_table,
    summarize,
    time_steps,
    usual_loop,
)
from study.benchmark.trials import task_table, time_tasks
from study.plan import machine
from study.plan.trials import Trial
from trainables.optimizers import OPTIMIZERS, SAM, SGD
from trainables.setting import Setting
from trainables.usage import UsageError

TINY = Setting(hidden=(6, 5), batch_size=4)


@pytest.fixture
def digits_again(digits):
    return repeat_images(digits, 300, 50)


def test_images_repeat_up_to_the_requested_number(digits, digits_again):
    assert digits_again.train_images.shape == (300, 784)
    assert digits_again.test_images.shape == (50, 784)
    assert (digits_again.train_images[:5] == digits.train_images[:5]).all()


def test_every_contender_is_timed(digits_again):
    timings = time_steps(TINY, [1, 3], 2, "cpu", digits_again)
    names = {(t["stack"], t["name"]) for t in timings}
    contenders = ("floor", *OPTIMIZERS, "sgd momentum", "adam")
    assert names == {(s, n) for s in (1, 3) for n in contenders} | {
        (1, "usual sgd"),
        (1, "usual sam"),
    }
    assert all(0 < t["least"] <= t["median"] <= t["most"] for t in timings)


def test_a_round_counts_steps_times_runs(digits_again):
    assert products(TINY, 3, 5, "cpu", digits_again)() == 15
    assert our_loop(TINY, 3, 5, "cpu", digits_again)() == 15
    sam = attrs.evolve(TINY, optimizer=SAM(lr=0.1))
    assert usual_loop(sam, 1, 5, "cpu", digits_again)() == 5


def test_the_first_round_does_not_count():
    calls = []
    measured = interleave(
        {(1, "a"): lambda: calls.append("a") or 1, (1, "b"): lambda: 1},
        3,
        "cpu",
    )
    assert len(calls) == 4
    assert [len(times) for times in measured.values()] == [3, 3]


def test_the_usual_loop_trains_its_model(digits_again):
    setting = attrs.evolve(TINY, optimizer=SGD(lr=0.1))
    loop = usual_loop(setting, 1, 60, "cpu", digits_again)
    optimizer = inspect.getclosurevars(loop).nonlocals["optimizer"]
    weights = optimizer.param_groups[0]["params"][0]
    before = weights.detach().clone()
    loop()
    assert not torch.equal(before, weights)


def test_the_phases_of_a_task_are_shares_of_its_time(digits_again):
    tasks = time_tasks(TINY, 2, "cpu", digits_again)
    assert set(tasks) == set(OPTIMIZERS)
    table = task_table(tasks)
    for task in tasks.values():
        phases = ("training", "testing", "probes", "landscape", "permuting")
        assert 0 < sum(task[phase] for phase in phases) <= task["all"] * 1.001
    assert table.row_count == len(OPTIMIZERS)


def test_ratios_are_taken_within_a_round_and_two_passes_have_two_floors():
    """The machine is three times slower in the last round than in the first."""
    pace = [1.0, 2.0, 3.0]
    us = {"floor": 10, "usual sgd": 50, "usual sam": 100, "sgd": 12.5, "sam": 25}
    measured = {(1, name): np.array(pace) * one for name, one in us.items()}
    measured[1, "sam"][0] = 1000.0
    rows = [{"batch_size": 16} | summarize(name, measured) for name in measured]
    table = step_table(rows)
    spread, ratio, gain = (list(table.columns[i].cells) for i in (4, 5, 6))
    assert spread[:2] == ["10.0-30.0", "50.0-150.0"]
    assert ratio == ["1.00", "", "", "0.80", "0.80"]
    assert gain == ["", "", "", "4.0", "4.0"]


@pytest.mark.parametrize("text", ["", "1,", "0", "a", "1;2", "-1"])
def test_a_text_that_is_not_a_list_of_numbers_is_refused(text):
    with pytest.raises(UsageError, match="give whole numbers"):
        parse_numbers("--stacks", text)


def test_rates_are_kept_for_this_kind_of_machine_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trial = Trial(Setting(tasks=1), (0, 1))
    assert machine.load_rates() == {}
    assert machine.estimate_seconds([trial], 2, machine.load_rates()) is None
    machine.save_rates({"sgd": trial.cost.flops / 3})
    assert machine.estimate_seconds([trial], 1, machine.load_rates()) == pytest.approx(
        3
    )
    assert machine.estimate_seconds([trial], 2, machine.load_rates()) == pytest.approx(
        3
    )
    assert machine.estimate_seconds(
        [trial] * 3, 2, machine.load_rates()
    ) == pytest.approx(4.5)
    other = Trial(Setting(optimizer=SAM()), (0,))
    assert machine.estimate_seconds([trial, other], 1, machine.load_rates()) is None
    known = json.loads(machine.rates_file().read_text())
    machine.rates_file().write_text(json.dumps(known | {"processor": "another"}))
    assert machine.load_rates() == {}
    machine.rates_file().write_text("{")
    assert machine.load_rates() == {}
