"""Claim a study's results, so that only one process at a time writes to them.

In a folder, local or shared, a claim is a file lock. The kernel releases the lock
whenever the process dies. In an object store, and in a folder whose file system has no
locks, a claim is a heartbeat: a small file that the process changes regularly.
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
STALE = 90.0  # a sweep counts as dead after this many seconds without a heartbeat
BEATS = 5  # how often a running sweep changes its heartbeat in STALE seconds

# the errors of a file system that has no locks
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def claim(files: Files, stale: float = STALE) -> Iterator[None]:
    """Claim a study's results, so that no other sweep writes to them in this context.

    Raises:
        UsageError: Another sweep has claimed the results.
        OSError: The storage fails.
    """
    folders = (files.folder, *files.folder.parents) if files.local else ()
    new_folders = [folder for folder in folders if not folder.exists()]
    try:
        lock = _lock(files) if files.local else None
        with _heartbeat(files, stale) if lock is None else _locked(lock):
            yield
    finally:
        for folder in new_folders:  # `rmdir` deletes only empty folders
            with contextlib.suppress(OSError):
                folder.rmdir()


def is_claimed(files: Files, stale: float = STALE) -> bool:
    """Return whether a sweep is running on a study's results; write nothing."""
    if files.local:
        with contextlib.suppress(FileNotFoundError):
            # filelock needs to write, but another user's lock may be read-only
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
        f"another sweep is running on {files.location()}: wait until that sweep ends, "
        "or stop it"
    )


def _lock(files: Files) -> FileLock | None:
    """Create and lock the study's folder; return None if its file system has no locks.

    Raises:
        UsageError: Another sweep has locked the folder.
        OSError: The storage fails.
    """
    lock = FileLock(
        files.folder / LOCK,
        timeout=1,  # wait, because `is_claimed` also locks for a moment
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
            # another sweep may just have deleted the empty folder at its end: retry
            attempts += 1
            if error.errno not in (errno.ENOENT, errno.EEXIST) or attempts > 99:
                raise


@contextlib.contextmanager
def _locked(lock: FileLock) -> Iterator[None]:
    try:
        yield
    finally:
        # delete the lock file first; after the release, another sweep may lock it
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _read_beat(files: Files) -> tuple[str, float] | None:
    """Return the owner and the time of the last heartbeat, or None without a heartbeat.

    A heartbeat that cannot be read counts as very old.
    """
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
    """Claim a study's results with a heartbeat file while this context lasts.

    Raises:
        UsageError: Another sweep is running on the results.
        OSError: The storage fails.
    """
    _wait_for_stale(files, stale)
    owner = uuid.uuid4().hex
    _write_beat(files, owner)
    time.sleep(stale / 60)  # if two sweeps start together, the last to write wins
    if (beat := _read_beat(files)) is None or beat[0] != owner:
        raise _in_use(files)
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(stale / BEATS):
            with contextlib.suppress(OSError):  # the next write may succeed
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
    """Wait until it is certain that no other sweep is running on the results.

    Return at once if there is no heartbeat file or it is older than `stale` seconds.

    Raises:
        UsageError: The heartbeat changes, so another sweep is running.
        OSError: The storage fails.
    """
    first = _read_beat(files)
    if first is None or (age := time.time() - first[1]) >= stale:
        return
    say(
        f"A sweep was running here {age:.0f} s ago: waiting up to {stale:.0f} s to see "
        "whether it is still running."
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
