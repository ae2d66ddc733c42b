"""A process counts as dead only if this machine shows that it is dead."""

from __future__ import annotations

import os
import subprocess

import pytest

from study.results.process import _machine, _state_and_start, is_dead, this_process


def test_a_process_is_dead_when_it_is_killed():
    with subprocess.Popen(["sleep", "60"]) as process:
        start = _state_and_start(process.pid)[1]
        name = f"{_machine()}-{process.pid}-{start}"
        assert not is_dead(name)
        process.kill()
        # a process that has ended is a zombie until its parent waits for it
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert _state_and_start(process.pid)[0] == "Z"
        assert is_dead(name)
    assert is_dead(name)
    assert not is_dead(name.replace(_machine(), "0" * 16))  # of another machine


def test_a_process_with_the_same_number_is_another_one():
    machine, number, start = this_process().split("-")
    assert not is_dead(this_process())
    assert is_dead(f"{machine}-{number}-{int(start) + 1}")
    assert os.uname().nodename not in this_process()


@pytest.mark.parametrize(
    "name", ["", "a", "a-b", "{}-x-1", "{}-{}-1", "{}-99999999999-1"]
)
def test_what_names_no_process_is_not_dead(name):
    assert not is_dead(name.format(_machine(), "9" * 30))
