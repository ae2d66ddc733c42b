"""Claims: one sweep at a time, and a dead one's claim dies with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from study.results.claim import HEARTBEAT, LOCK, _heartbeat, claim, is_claimed
from study.results.files import Files
from trainables.usage import UsageError

HOLD = (
    "import sys, time\n"
    "from study.results.claim import claim\n"
    "from study.results.files import Files\n"
    "with claim(Files(sys.argv[1], 'mine')):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture
def files(tmp_path):
    return Files(str(tmp_path / "results"), "mine")


def test_a_claim_leaves_nothing_where_there_was_nothing(files, tmp_path):
    assert not is_claimed(files)
    with claim(files):
        assert is_claimed(files)
        assert (files.folder / LOCK).read_bytes() == b""
    assert not is_claimed(files)
    assert list(tmp_path.iterdir()) == []


def test_the_second_is_refused_in_one_line(files):
    refused = pytest.raises(UsageError, match="another sweep")
    with claim(files), refused as caught, claim(files):
        raise AssertionError("two at once")
    assert "\n" not in str(caught.value)
    with claim(files):
        pass


def test_a_killed_processs_claim_is_free_at_once(files):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, files.results], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another sweep"), claim(files):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with claim(files):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_of_many_at_once_one_has_it(files):
    inside, most, taken = [], [], []

    def go():
        for _ in range(10):
            try:
                with claim(files):
                    inside.append(1)
                    most.append(len(inside))
                    taken.append(1)
                    time.sleep(0.001)
                    inside.pop()
            except UsageError:
                pass

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken
    assert max(most) == 1


# the heartbeat, in a folder: it is the same in an object store


def beating(files, stale=1.0):
    return _heartbeat(files, stale)


def test_a_heartbeat_refuses_the_second_as_soon_as_it_beats(files, capsys):
    with beating(files, stale=3.0):
        started = time.monotonic()
        with (
            pytest.raises(UsageError, match="another sweep"),
            beating(files, stale=3.0),
        ):
            raise AssertionError("two at once")
        assert time.monotonic() - started < 2.5
    capsys.readouterr()
    with beating(files):
        assert is_claimed(files, stale=1.0)
        refused = pytest.raises(UsageError, match="another sweep")
        with refused, beating(files):
            raise AssertionError("two at once")
        message = capsys.readouterr().out
        assert message.startswith("A sweep was running here 0 s ago: waiting up to")
        time.sleep(1.5)  # and it goes on
        assert is_claimed(files, stale=1.0)
    assert not (files.folder / HEARTBEAT).exists()


def test_a_dead_sweeps_heartbeat_is_waited_out(files, capsys):
    with beating(files):
        last = (files.folder / HEARTBEAT).read_bytes()
    files.put(HEARTBEAT, last)
    started = time.monotonic()
    with beating(files):
        assert 0.5 < time.monotonic() - started < 3
    assert len(capsys.readouterr().out.splitlines()) == 1
    files.put(HEARTBEAT, b'{"id": "x", "time": 12}')
    started = time.monotonic()
    with beating(files):
        assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": 1}', b"\xff"])
def test_a_heartbeat_that_cannot_be_read_is_nobodys(files, content):
    files.put(HEARTBEAT, content)
    with beating(files):
        pass


def test_a_heartbeat_names_nobody(files):
    with beating(files):
        content = (files.folder / HEARTBEAT).read_text()
    assert os.uname().nodename not in content
