"""A put that is interrupted anywhere leaves the old file or the new one."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from study.results.files import Files, open_results

OLD, NEW = b"old" * 9_000, b"new" * 9_000
PLACES = ["s3", "folder", "mock"]
MOMENTS = ["before", "after"]


class Interrupt(BaseException):
    """Stands for a signal, because no `except Exception` catches it."""


@pytest.fixture
def files(request, bucket, tmp_path):
    place = {"s3": bucket.uri, "folder": str(tmp_path), "mock": "mock:///bucket"}
    files = Files(place[request.param], "mine")
    if request.param == "mock":  # unlike a real object store, it has folders
        open_results(files.results)[0].create_dir("bucket/mine/a")
    files.put("a/file", OLD)
    assert files.read("a/file") == OLD
    return files


def interrupted_at(action, number):
    """Call `action`, interrupt its function call `number`; return the calls made."""
    calls = 0

    def count(frame, event, arg):
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1
            if calls == number:
                sys.setprofile(None)
                raise Interrupt

    sys.setprofile(count)
    try:
        action()
    except Interrupt:
        pass
    finally:
        sys.setprofile(None)
    return calls


# an interrupt can come before a socket is closed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("files", PLACES, indirect=True)
def test_an_interrupt_at_any_call_of_a_put_leaves_the_old_file_or_the_new(files):
    files.put("a/file", OLD)
    total = interrupted_at(lambda: files.put("a/file", OLD), -1)
    left = []
    for i in range(20):
        # the last counted call is the one that ends the count
        number = 1 + i * (total - 1) // 20
        interrupted_at(lambda: files.put("a/file", NEW), number)
        left.append(files.read("a/file"))
        files.put("a/file", OLD)
    assert set(left) <= {OLD, NEW}
    assert left.count(OLD) > 1
    assert files.names("a", "") == ["file"]


@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_nothing_is_uploaded_in_parts(files, bucket):
    files.put("a/large", bytes(11 << 20))  # pyarrow's parts have 10 MiB
    assert bucket.posts == 0
    assert len(files.read("a/large")) == 11 << 20


@pytest.fixture
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, which a shell's background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.chaos
@pytest.mark.usefixtures("interruptible")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_signals_during_puts_to_a_store(files, bucket, capsys):
    """A signal comes before the store writes the object, or before the store answers.

    The store continues only after the process has read the file.
    """
    main = threading.main_thread().ident
    left = []
    for i in range(100):
        has_read, is_done = threading.Event(), threading.Event()

        def see(now, moment=MOMENTS[i % 2], has_read=has_read, is_done=is_done):
            if now == moment:
                bucket.see = lambda now: now == "after" and is_done.set()
                signal.pthread_kill(main, signal.SIGINT)
                assert has_read.wait(60)
            if now == "after":
                is_done.set()

        bucket.see = see
        with pytest.raises(KeyboardInterrupt):
            files.put("a/file", NEW)
        left.append(files.read("a/file"))
        has_read.set()
        assert is_done.wait(60)  # the store does what it was told before the signal
        files.put("a/file", OLD)
    with capsys.disabled():
        print(
            f"\nputs interrupted by a signal: 100, old {left.count(OLD)}, new "
            f"{left.count(NEW)}, neither {100 - left.count(OLD) - left.count(NEW)}"
        )
    assert left == [OLD, NEW] * 50
