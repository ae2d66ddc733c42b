"""One sweep at a time: a process that writes to a study's results claims them.

In a folder, local or shared, a claim is a file lock, which the kernel releases when the
process dies, however that happens. In an object store, and in a folder without locks,
it is a heartbeat: a small object that keeps changing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator

from filelock import FileLock, Timeout

from study.console import say
from study.results.files import Files
from trainables.usage import UsageError

LOCK = ".lock"
HEARTBEAT = "heartbeat.json"
STALE = 90.0  # seconds without a change after which a heartbeat's sweep counts as dead
BEATS = 5  # how often a heartbeat changes in that time

# errors of a file system without locks
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def claim(files: Files, stale: float = STALE) -> Iterator[None]:
    """Claim a study's results for as long as the context lasts.

    Raises:
        UsageError: Another sweep has claimed them.
        OSError: Storage fails.
    """
    folders = (files.folder, *files.folder.parents) if files.local else ()
    new_folders = [folder for folder in folders if not folder.exists()]
    try:
        lock = _lock(files) if files.local else None
        with _heartbeat(files, stale) if lock is None else _locked(lock):
            yield
    finally:
        for folder in new_folders:  # delete those that are still empty
            with contextlib.suppress(OSError):
                folder.rmdir()


def is_claimed(files: Files, stale: float = STALE) -> bool:
    """Return whether a sweep claims a study's results now, without writing."""
    if files.local:
        with contextlib.suppress(FileNotFoundError):
            # filelock would write; another user's lock may only be readable
            descriptor = os.open(files.folder / LOCK, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            finally:
                os.close(descriptor)
    beat = _read_beat(files)
    return beat is not None and time.time() - beat[1] < stale


def _in_use(files: Files) -> UsageError:
    return UsageError(
        f"another sweep is running on {files.location()}: wait for its end, or stop it"
    )


def _lock(files: Files) -> FileLock | None:
    """Make and lock a folder, or refuse to; None: its file system has no locks."""
    lock = FileLock(
        files.folder / LOCK,
        timeout=1,  # `is_claimed` locks for a moment, too
        mode=0o666,
        thread_local=False,
        fallback_to_soft=False,
    )
    attempts = 0
    while True:
        try:
            files.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            return lock
        except Timeout:
            raise _in_use(files) from None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            # a sweep that ends deletes empty folders, so they may come and go
            attempts += 1
            if error.errno not in (errno.ENOENT, errno.EEXIST) or attempts > 99:
                raise


@contextlib.contextmanager
def _locked(lock: FileLock) -> Iterator[None]:
    try:
        yield
    finally:
        # unlinked after the release, it could be the next sweep's
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _read_beat(files: Files) -> tuple[str, float] | None:
    """Return the heartbeat's owner and time of change; None: there is none."""
    try:
        beat = json.loads(files.read(HEARTBEAT))
        return str(beat["id"]), float(beat["time"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "unreadable", 0.0


def _write_beat(files: Files, owner: str) -> None:
    files.put(HEARTBEAT, json.dumps({"id": owner, "time": time.time()}).encode())


@contextlib.contextmanager
def _heartbeat(files: Files, stale: float) -> Iterator[None]:
    """Claim by a heartbeat, unless another sweep's heartbeat changes."""
    _wait_for_stale(files, stale)
    owner = uuid.uuid4().hex
    _write_beat(files, owner)
    time.sleep(stale / 60)  # if two start together, the later writer wins
    if (beat := _read_beat(files)) is None or beat[0] != owner:
        raise _in_use(files)
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(stale / BEATS):
            with contextlib.suppress(OSError):  # the next beat may succeed
                _write_beat(files, owner)

    thread = threading.Thread(target=keep_beating, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            files.delete(HEARTBEAT)


def _wait_for_stale(files: Files, stale: float) -> None:
    """Wait until the heartbeat of another sweep, if any, is gone or stale."""
    first = _read_beat(files)
    if first is None or (age := time.time() - first[1]) >= stale:
        return
    say(
        f"A sweep was running here {age:.0f} s ago: waiting up to {stale:.0f} s to see "
        "whether it still is."
    )
    # use the local clock: clocks of other machines may be skewed
    deadline = time.monotonic() + stale
    while time.monotonic() < deadline:
        time.sleep(stale / BEATS / 4)
        beat = _read_beat(files)
        if beat is None:
            return
        if beat != first:
            raise _in_use(files)
