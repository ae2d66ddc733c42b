"""Claims with a file lock: one sweep at a time; the end of a sweep ends its claim."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from study.results.claim import LOCK, claim, is_claimed
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
