"""One sweep at a time: whoever writes to a study's results has claimed them.

In a folder, of this machine or a shared one, a claim is a lock that the kernel lets go
of when its process dies, however that happens. In an object store, and in a folder
that knows no locks, it is a heartbeat: a small object that changes again and again.
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
from pathlib import Path

from study.console import say
from study.results.files import Files
from trainables.usage import UsageError

STALE = 90.0
"""Seconds without a change after which a heartbeat's sweep is taken to be dead."""

BEATS = 5
"""Changes in that time."""

LOCK = ".lock"
HEARTBEAT = "heartbeat.json"

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def claimed(files: Files, stale: float = STALE) -> Iterator[None]:
    """Hold the claim on a study's results.

    Args:
        files: The study's.
        stale: See `STALE`.

    Raises:
        UsageError: Another sweep holds it.
        OSError: Storage fails.
    """
    if not files.local:
        with _heartbeat(files, stale):
            yield
        return
    made = _make(files.folder)
    try:
        descriptor = _lock(files)
        with contextlib.ExitStack() as stack:
            if descriptor is None:
                stack.enter_context(_heartbeat(files, stale))
            else:
                stack.callback(_unlock, files.folder / LOCK, descriptor)
            yield
    finally:
        for folder in made:  # that nothing was written into
            with contextlib.suppress(OSError):
                folder.rmdir()


def held(files: Files, stale: float = STALE) -> bool:
    """Tell whether a sweep holds the claim on a study's results now."""
    if files.local:
        with contextlib.suppress(FileNotFoundError):
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
    beat = _beat_of(files)
    return beat is not None and time.time() - beat[1] < stale


def _make(folder: Path) -> list[Path]:
    """Make a folder and those it lies in; return the new ones, the innermost first."""
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    _mkdir(folder)
    return new


def _mkdir(folder: Path) -> None:
    """Make a folder, which one that left nothing may delete in the meantime."""
    for left in reversed(range(100)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return
        except (FileExistsError, FileNotFoundError):
            if not left:
                raise


def _in_use(files: Files) -> UsageError:
    return UsageError(
        f"another sweep is at work on {files.where()}: wait for its end, or stop it"
    )


def _lock(files: Files) -> int | None:
    """Return the lock's descriptor; None: this folder knows no locks.

    Raises:
        UsageError: Another process has the lock.
    """
    path = files.folder / LOCK
    deadline = time.monotonic() + 1  # `held` may be looking
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # one that left nothing has deleted the folder
            _mkdir(files.folder)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the one before may have deleted the file in the meantime
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise _in_use(files) from None
            time.sleep(0.05)
        except OSError as error:
            os.close(descriptor)
            if error.errno in NO_LOCKS:
                return None
            raise


def _unlock(path: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(descriptor)


def _beat_of(files: Files) -> tuple[str, float] | None:
    """Return whose the heartbeat is and when it last changed, if there is one."""
    try:
        found = json.loads(files.read(HEARTBEAT))
        return str(found["id"]), float(found["time"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "unreadable", 0.0


def _beat(files: Files, mine: str) -> None:
    files.put(HEARTBEAT, json.dumps({"id": mine, "time": time.time()}).encode())


@contextlib.contextmanager
def _heartbeat(files: Files, stale: float) -> Iterator[None]:
    """Hold the claim by a heartbeat.

    Raises:
        UsageError: Another's changes.
    """
    _watch(files, stale)
    mine = uuid.uuid4().hex
    _beat(files, mine)
    time.sleep(stale / 60)  # two that start at once: the later one stays
    if (there := _beat_of(files)) is None or there[0] != mine:
        raise _in_use(files)
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(stale / BEATS):
            with contextlib.suppress(OSError):  # as long as storage fails
                _beat(files, mine)

    thread = threading.Thread(target=go_on, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            files.delete(HEARTBEAT)


def _watch(files: Files, stale: float) -> None:
    """Wait until another's heartbeat, if there is one, has not changed for long.

    Raises:
        UsageError: It changes.
    """
    first = _beat_of(files)
    if first is None or time.time() - first[1] >= stale:
        return
    say(
        f"a sweep was at work here {time.time() - first[1]:.0f} s ago: watching for up "
        f"to {stale:.0f} s whether it still is"
    )
    # a clock of our own: other machines' may differ
    deadline = time.monotonic() + stale
    while time.monotonic() < deadline:
        time.sleep(stale / BEATS / 4)
        now = _beat_of(files)
        if now is None:
            return
        if now != first:
            raise _in_use(files)
