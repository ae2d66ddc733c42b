"""Claim a study's results, so that only one process at a time writes to them.

In a folder whose locks all machines see, a claim is a file lock. The kernel releases
the lock whenever the process dies.

Elsewhere, in an object store or in a folder such as an sshfs mount, a claim is an
entry in the store, which its holder renews regularly. The store decides which of two
processes may change the entry (`study.results.exclusion`). A process takes over the
claim of another process only if the entry has not changed for `STALE` seconds, measured
by the clock of the process that waits. No clocks of two machines are compared. If the
holder ran on the same machine and its process is dead, nobody waits
(`study.results.process`).

A process can be stopped for longer than `STALE` seconds and then continue. So a holder
overwrites study.json and the journal under the same condition as the entry: only if no
other process has changed them since they were read. Both files contain the number of
the claim, and each new claim has a larger number. A new holder first writes its own
number into the files, so that an earlier holder cannot write them any more. Records
need no claim, because two files with the same name have the same content.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from typing import NoReturn, TypeVar

import attrs
from filelock import FileLock, Timeout

from study.console import console, say
from study.results.exclusion import Exclusion, exclusion_of, locks_are_shared
from study.results.files import Files, notice, repeat
from study.results.process import is_dead, this_process
from trainables.usage import UsageError

AnyFiles = TypeVar("AnyFiles", bound=Files)

LOCK = ".lock"
STALE = 90.0  # seconds without a renewal, after which a sweep counts as dead
BEATS = 5  # how often a running sweep renews its entry in STALE seconds

# the errors of a file system that has no locks
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class ConflictError(FileExistsError):
    """Another process, which holds no claim, has written a file of the study."""


class ClaimLostError(Exception):
    """Another process has taken over the claim."""


@contextlib.contextmanager
def claim(files: AnyFiles, stale: float = STALE) -> Iterator[AnyFiles]:
    """Claim a study's results, so that no other sweep writes to them in this context.

    In the context, use the files that the context yields instead of `files`.

    Raises:
        UsageError: Another sweep has claimed the results.
        OSError: The storage fails.
    """
    folders = (files.folder, *files.folder.parents) if files.local else ()
    new_folders = [folder for folder in folders if not folder.exists()]
    try:
        with contextlib.ExitStack() as stack:
            lock = _lock(files) if files.local else None
            if lock is not None:
                stack.enter_context(_keep_locked(lock))
            if lock is None or not locks_are_shared(files.folder):
                new_claim = stack.enter_context(_claim_entry(files, stale))
                files = attrs.evolve(files, claim=new_claim)
            yield files
    finally:
        for folder in new_folders:  # `rmdir` deletes only empty folders
            with contextlib.suppress(OSError):
                folder.rmdir()


def is_claimed(files: Files, stale: float = STALE) -> bool:
    """Return whether a sweep seems to run on a study's results; write nothing.

    Use the answer only for display. If there is no file lock, the answer can be wrong,
    because it depends on the clocks of two machines.
    """
    if files.local:
        with contextlib.suppress(FileNotFoundError):
            # filelock opens the file for writing, but a file of another user is often
            # read-only
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
    current = exclusion_of(files).load()
    if current is None:
        return False
    entry = Entry.from_bytes(current[0])
    is_fresh = bool(entry.owner) and time.time() - entry.time < stale
    return is_fresh and not is_dead(entry.process)


def _in_use(files: Files) -> UsageError:
    return UsageError(
        f"another sweep is running on {files.location()}: wait until that sweep ends, "
        "or stop it"
    )


def _lock(files: Files) -> FileLock | None:
    """Create and lock the study's folder; return None if it cannot have locks."""
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
            # another sweep has possibly just deleted the empty folder at its end: retry
            attempts += 1
            if error.errno not in (errno.ENOENT, errno.EEXIST) or attempts > 99:
                raise


@contextlib.contextmanager
def _keep_locked(lock: FileLock) -> Iterator[None]:
    """Keep a lock while this context lasts, then delete the lock file."""
    try:
        yield
    finally:
        # delete the lock file first; after the release, another sweep can lock it
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


@attrs.frozen
class Entry:
    """The entry of a claim in the store."""

    owner: str  # a random name of the holder; "" if nobody holds the claim
    number: int = 0  # the number of claims so far, with this one
    beat: int = 0  # how often the holder has renewed the entry
    time: float = 0.0  # the last renewal, by the holder's clock; only for display
    process: str = ""  # the process of the holder, if its system can identify it

    def to_bytes(self) -> bytes:
        """Serialize the entry to JSON."""
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Entry:
        """Return the entry in a file. A damaged entry has the owner "unknown"."""
        try:
            data = json.loads(content)
            number, beat = int(data["number"]), int(data["beat"])
            process = str(data.get("process", ""))  # older versions wrote none
            return cls(str(data["owner"]), number, beat, float(data["time"]), process)
        except (ValueError, KeyError, TypeError):
            return cls("unknown")


def end_process(line: str) -> None:
    """Print a line and end this process immediately, without any further write.

    A study resumes after such an end, as it does after SIGKILL. Any thread can call
    this function, also while the main thread waits for Ray.
    """
    say(line)
    console.show_cursor()
    console.file.flush()
    os._exit(1)


class Claim:
    """A claim that this process holds. Pickled for another process, it becomes None.

    Attributes:
        stamp: The number of the claim and the name of its holder, as text. The files
            that the holder overwrites contain this text.
        lost: Whether another process is known to have taken over the claim.
    """

    def __init__(
        self, files: Files, exclusion: Exclusion, entry: Entry, tag: str
    ) -> None:
        """Hold the claim of `entry`, which this process has written."""
        self._files, self._exclusion = files, exclusion
        self._entry, self._tag = entry, tag
        self.stamp = f"{entry.number}-{entry.owner[:8]}"
        self.lost = False
        self._tags: dict[str, str | None] = {}
        # path -> hashes of the contents that were sent without an answer
        self._sent: dict[str, set[bytes]] = {}

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def read(self, path: str) -> bytes:
        """See `Files.load`."""
        self._tags[path] = None
        content, tag = self._exclusion.read(path)
        # keep the tag only after this check: with the tag of a new holder's file, this
        # process could overwrite that file
        self.check()
        self._tags[path] = tag
        return content

    def put(self, path: str, content: bytes) -> None:
        """See `Files.save`."""
        if self.lost:
            self._lose()
        sent = self._sent.setdefault(path, set())
        sent.add(_hash(content))
        tag = self._tags.get(path)
        while (new := self._exclusion.replace(path, content, tag)) is None:
            self.check()
            # an earlier put has possibly succeeded although its answer never came
            try:
                current, tag = self._exclusion.read(path)
            except FileNotFoundError:
                raise self._conflict(path) from None
            if current == content:
                new = tag
                break
            if _hash(current) not in sent:
                raise self._conflict(path)
        self._tags[path] = new
        sent.clear()

    def check(self) -> None:
        """End this process if another process has taken over the claim."""
        if self._tag_if_held() is None:
            self._lose()

    def _tag_if_held(self) -> str | None:
        """Return the tag of the entry, or None if another process has the claim."""
        current = self._exclusion.load()
        if current is None or Entry.from_bytes(current[0]).owner != self._entry.owner:
            return None
        return current[1]

    def renew(self) -> None:
        """Show other processes that this process still runs."""
        self._entry = attrs.evolve(
            self._entry, beat=self._entry.beat + 1, time=time.time()
        )
        tag = _swap(self._exclusion, self._entry, self._tag)
        if tag is None:
            # an earlier renewal, which got no answer, has possibly just changed the tag
            tag = self._tag_if_held()
        if tag is None:
            self._lose()
        self._tag = tag

    def release(self) -> None:
        """Give up the claim, so that other processes need not wait."""
        free = Entry("", self._entry.number)
        # if another process has taken over the claim, its entry stays
        with contextlib.suppress(OSError):
            if (tag := self._tag_if_held()) is not None:
                self._exclusion.swap(free.to_bytes(), tag)
        with contextlib.suppress(OSError):
            self._exclusion.end()

    def _lose(self) -> NoReturn:
        """End this process, because another process has taken over the claim."""
        self.lost = True
        end_process(
            f"Stopped: another sweep has taken over {self._files.location()}, because "
            "this one has stopped renewing its claim. All results are kept; run the "
            "same command when the other sweep has ended."
        )
        raise ClaimLostError

    def _conflict(self, path: str) -> ConflictError:
        return ConflictError(
            errno.EEXIST, "another program has changed it", self._files.location(path)
        )


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _swap(exclusion: Exclusion, entry: Entry, tag: str | None) -> str | None:
    """Replace the entry of a claim. If the store does not confirm this, load the entry.

    Return the new tag, or None if another process has changed the entry.
    """
    content = entry.to_bytes()
    failure: OSError | None = None
    try:
        if (new := exclusion.swap(content, tag)) is not None:
            return new
    except OSError as error:
        failure = error
    # the swap has possibly succeeded although its answer never came
    current = exclusion.load()
    if current is not None and current[0] == content:
        return current[1]
    if failure is not None:
        raise failure
    return None


@contextlib.contextmanager
def _claim_entry(files: Files, stale: float) -> Iterator[Claim]:
    """Claim a study's results with an entry in the store while this context lasts."""
    exclusion = exclusion_of(files)
    before, tag = _wait_until_free(files, exclusion, stale)
    entry = Entry(
        uuid.uuid4().hex, before.number + 1, time=time.time(), process=this_process()
    )
    try:
        with notice():
            exclusion.begin(entry.number)
            if (new_tag := _swap(exclusion, entry, tag)) is None:
                raise _in_use(files)
            exclusion.revoke(entry.number)
            _check_conditions(files, exclusion, entry)
    except BaseException:
        exclusion.end()
        raise
    new_claim = Claim(files, exclusion, entry, new_tag)

    def renew() -> None:
        with contextlib.suppress(ClaimLostError):
            if not new_claim.lost:
                new_claim.renew()

    try:
        with repeat(renew, stale / BEATS, "claim"):
            yield new_claim
    finally:
        new_claim.release()


def _check_conditions(files: Files, exclusion: Exclusion, entry: Entry) -> None:
    """Warn if the store ignores the conditions of writes, as some stores do."""
    # the entry exists, so a write must fail if its condition is that no entry exists
    if exclusion.swap(entry.to_bytes(), None) is not None:
        say(
            f"{files.location()}: this object store ignores conditional writes, so the "
            "program cannot keep a second sweep out. Start only one sweep at a time."
        )


def _wait_until_free(
    files: Files, exclusion: Exclusion, stale: float
) -> tuple[Entry, str | None]:
    """Wait until no other sweep is running; return the entry in the store and its tag.

    Wait only if the holder of the entry is possibly still running. If the entry
    changes, another sweep is running: raise UsageError.
    """
    with notice():
        first = current = exclusion.load()
    since = None
    while current is not None and (entry := Entry.from_bytes(current[0])).owner:
        if current != first:
            raise _in_use(files)
        if is_dead(entry.process):
            return entry, current[1]
        if since is None:
            # use only the clock of this process: clocks of other machines can be wrong
            since = time.monotonic()
            say(
                f"A sweep was running on {files.location()}: waiting up to "
                f"{stale:.0f} s to see whether it is still running."
            )
        elif time.monotonic() - since >= stale:
            return entry, current[1]
        time.sleep(stale / BEATS / 4)
        current = exclusion.load()
    if current is None:
        return Entry(""), None
    return Entry.from_bytes(current[0]), current[1]
