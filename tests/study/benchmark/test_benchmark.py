"""The benchmark times every loop, and saves the training speeds."""

import inspect
import json
import sys

import attrs
import numpy as np
import pytest
import torch

from study.benchmark import steps
from study.benchmark.__main__ import benchmark, parse_names, parse_numbers
from study.benchmark.peers import PEERS, jax_loop
from study.benchmark.steps import (
    METHODS,
    interleave,
    our_loop,
    products,
    repeat_images,
    settings_table,
    step_table,
    summarize,
    time_settings,
    time_steps,
    usual_loop,
)
from study.benchmark.trials import task_table, time_tasks
from study.plan import machine
from study.plan.trials import Trial
from trainables.networks.network import Network
from trainables.networks.stack import Memory
from trainables.optimizers import GNP, OPTIMIZERS, SAM, SGD
from trainables.setting import Setting
from trainables.steps import reference
from trainables.usage import UsageError

TINY = Setting(hidden=(6, 5), batch_size=4)


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    """Time few steps, because no test needs exact times."""
    monkeypatch.setattr(steps, "ROUND_SECONDS", 0.0)


@pytest.fixture
def digits_again(digits):
    return repeat_images(digits, 300, 50)


def test_images_repeat_up_to_the_requested_number(digits, digits_again):
    assert digits_again.train_images.shape == (300, 784)
    assert digits_again.test_images.shape == (50, 784)
    assert (digits_again.train_images[:5] == digits.train_images[:5]).all()


def test_every_contender_is_timed(digits_again):
    timings = time_steps(TINY, METHODS, [1, 3], 1, "cpu", digits_again)
    names = {(t["stack"], t["name"]) for t in timings}
    contenders = ("floor", *OPTIMIZERS, "momentum", "adam")
    assert names == {(s, n) for s in (1, 3) for n in contenders} | {
        (1, "usual sgd"),
        (1, "usual sam"),
    }
    assert all(0 < t["least"] <= t["median"] <= t["most"] for t in timings)


def test_the_settings_of_a_study_are_timed_beside_sgd(digits_again):
    settings = [
        attrs.evolve(TINY, optimizer=SAM(lr=0.1)),
        attrs.evolve(TINY, normalization="dataset"),  # not in the C step
    ]
    rows = time_settings(settings, 2, 2, "cpu", digits_again)
    names = [row["name"].partition(" ")[0] for row in rows]
    assert names == ["sgd", "sam", "sgd"]
    assert rows[0]["of_sgd"] == 1
    assert rows[1]["of_sgd"] == rows[1]["least"] / rows[0]["least"] / 2
    assert rows[2]["engine"] == "torch"
    assert settings_table(rows).row_count == 3


def test_the_times_of_a_study_are_saved(digits_again, tmp_path, monkeypatch):
    row = {"name": "sgd", "engine": "native", "passes": 1, "least": 2.0, "median": 3.0}
    rows = [row | {"of_sgd": 1.0}]
    monkeypatch.setattr(steps, "digits", lambda: digits_again)
    monkeypatch.setattr(steps, "time_settings", lambda *_: rows)
    file, threads = tmp_path / "times.json", torch.get_num_threads()
    assert benchmark(study="remedies", threads=threads, json=str(file)) == 0
    saved = json.loads(file.read_text())
    assert saved["steps"] == rows
    assert "torch" in saved["made_by"]


def test_a_compiled_loop_makes_the_steps_of_gnp(digits_again, monkeypatch):
    """Without the compiler, which is slow, one step equals that of the reference."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    setting = attrs.evolve(TINY, optimizer=GNP(lr=0.1, rho=0.2, alpha=0.7))
    loop = PEERS["torch.compile"](setting, 2, 1, "cpu", digits_again)
    variables = inspect.getclosurevars(loop).nonlocals
    layers, rows = variables["layers"], variables["batches"][0]
    network = Network(
        [w.mT.contiguous().mT for w in layers[::2]],
        [b[:, None].clone() for b in layers[1::2]],
    )
    x = variables["images"][rows] / 255
    reference.step(network, Memory(), setting.optimizer, x, variables["answers"][rows])
    assert loop() == 2
    layers = inspect.getclosurevars(loop).nonlocals["layers"]
    for w, expected in zip(layers[::2], network.weights, strict=True):
        torch.testing.assert_close(w, expected)


def test_a_peer_that_is_not_installed_is_named(digits_again, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(UsageError, match="pip install jax"):
        jax_loop(TINY, 1, 1, "cpu", digits_again)


def test_names_are_parsed():
    assert parse_names("optimizer", "sam,sgd,sam", METHODS) == ["sam", "sgd"]
    assert parse_names("optimizer", "all", METHODS) == list(METHODS)
    assert parse_names("peer", "", METHODS) == []
    with pytest.raises(UsageError, match="did you mean 'sam'"):
        parse_names("optimizer", "sgd,samm", METHODS)


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
    names = ["sgd", "gnp"]
    tasks = time_tasks(TINY, names, 2, "cpu", digits_again)
    assert list(tasks) == names
    table = task_table(tasks)
    for task in tasks.values():
        phases = ("training", "testing", "probes", "landscape", "permuting")
        assert 0 < sum(task[phase] for phase in phases) <= task["all"] * 1.001
    assert table.row_count == 2


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
    machine.save_rates({"sgd": trial.cost.work / 3})
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
