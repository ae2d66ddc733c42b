"""The benchmark: that it times what it says, and keeps what it found."""

import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from study.benchmark.__main__ import _numbers
from study.benchmark.contenders import large, ours, products, usual
from study.benchmark.step_times import interleave, step_table, time_steps, timing
from study.plan import rates
from study.plan.trials import Trial
from trainables.optimizers import OPTIMIZERS, SAM, SGD
from trainables.setting import Setting
from trainables.usage import UsageError

TINY = Setting(hidden=(6, 5), batch_size=4)


@pytest.fixture
def digits_again(digits):
    return large(digits, "mnist", 300, 50)


def test_a_dataset_is_made_as_large_as_asked(digits, digits_again):
    assert digits_again.train_images.shape == (300, 784)
    assert digits_again.test_images.shape == (50, 784)
    assert (digits_again.train_images[:5] == digits.train_images[:5]).all()


def test_everything_is_timed_once_a_round(digits_again, capsys):
    console = Console(quiet=True)
    timings = time_steps(TINY, [1, 3], 2, "cpu", digits_again, console)
    names = {(t.stack, t.name) for t in timings}
    contenders = ("floor", *OPTIMIZERS)
    assert names == {(s, n) for s in (1, 3) for n in contenders} | {
        (1, "usual sgd"),
        (1, "usual sam"),
    }
    assert all(0 < t.least <= t.median <= t.most for t in timings)


def test_a_round_counts_steps_times_runs(digits_again):
    assert products(TINY, 3, 5, "cpu", digits_again)() == 15
    assert ours(TINY, 3, 5, "cpu", digits_again)() == 15
    assert usual(replace(TINY, optimizer=SAM(lr=0.1)), 5, "cpu", digits_again)() == 5


def test_the_first_round_does_not_count():
    calls = []
    measured = interleave(
        {(1, "a"): lambda: calls.append("a") or 1, (1, "b"): lambda: 1},
        3,
        "cpu",
        Console(quiet=True),
    )
    assert len(calls) == 4
    assert [len(times) for times in measured.values()] == [3, 3]


def test_the_usual_loop_learns(digits_again):
    """A peer that did not train would be no peer."""
    torch.manual_seed(0)
    loop = usual(replace(TINY, optimizer=SGD(lr=0.1)), 60, "cpu", digits_again)
    model = loop.__closure__
    weights = [
        c.cell_contents
        for c in model
        if isinstance(c.cell_contents, torch.nn.Sequential)
    ]
    before = weights[0][0].weight.detach().clone()
    loop()
    assert not torch.equal(before, weights[0][0].weight)


def test_ratios_are_of_the_same_round_and_to_two_floors_where_there_are_two_passes():
    """The machine's pace falls by 3 from the first round to the last."""
    pace = [1.0, 2.0, 3.0]
    us = {"floor": 10, "usual sgd": 50, "usual sam": 100, "sgd": 12.5, "sam": 25}
    measured = {(1, name): [one * p for p in pace] for name, one in us.items()}
    measured[1, "sam"][0] = 1000.0
    rows = [timing(16, who, measured) for who in measured]
    table = step_table(rows)
    spread, ratio, gain = (list(table.columns[i].cells) for i in (4, 5, 6))
    assert spread[:2] == ["10.0-30.0", "50.0-150.0"]
    assert ratio == ["1.00", "", "", "0.80", "0.80"]
    assert gain == ["", "", "", "4.0", "4.0"]


@pytest.mark.parametrize("text", ["", "1,", "0", "a", "1;2", "-1"])
def test_a_list_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="give whole numbers"):
        _numbers("--stacks", text)


def test_rates_are_kept_for_this_kind_of_machine_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trial = Trial(Setting(tasks=1), (0, 1))
    assert rates.recall() == {}
    assert rates.seconds([trial], 2, rates.recall()) is None
    rates.keep({"sgd": trial.cost.flops / 3})
    assert rates.seconds([trial], 1, rates.recall()) == pytest.approx(3)
    assert rates.seconds([trial], 2, rates.recall()) == pytest.approx(3)
    assert rates.seconds([trial] * 3, 2, rates.recall()) == pytest.approx(4.5)
    other = Trial(Setting(optimizer=SAM()), (0,))
    assert rates.seconds([trial, other], 1, rates.recall()) is None
    known = json.loads(rates.path().read_text())
    rates.path().write_text(json.dumps(known | {"processor": "another"}))
    assert rates.recall() == {}
    rates.path().write_text("{")
    assert rates.recall() == {}
