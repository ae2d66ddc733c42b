"""The first signal lets trials finish their task, the second ends at once."""

from __future__ import annotations

import os
import signal

import pytest

from study.running import tuning
from study.running.tuning import stoppable


@pytest.fixture
def signals(monkeypatch):
    """The signals that Tune has received; SIGUSR1 stops Tune while it runs."""
    monkeypatch.setattr(tuning, "GRACE", 1e6)  # after it, the process would end
    signals = []
    before = signal.signal(signal.SIGUSR1, lambda *_: signals.append("SIGUSR1"))
    yield signals
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_tune_and_the_second_the_command(
    number, signals, capsys
):
    with stoppable() as requested:
        os.kill(os.getpid(), number)
        assert requested.is_set()
        assert signals == ["SIGUSR1"]
        assert capsys.readouterr().out == (
            "Stopping. Progress is saved; run the same command to resume.\n"
        )
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signals == ["SIGUSR1"]


def test_before_tune_runs_a_signal_ends_the_command():
    with stoppable(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_without_a_signal_nothing_is_changed():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stoppable() as requested:
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert not requested.is_set()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
