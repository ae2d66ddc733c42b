"""Use storage that can fail or be slow.

`Patience` retries after an error, with longer and longer pauses, up to a time limit.
`Call` waits for the storage in its own thread, so that training can continue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")

# tell the user if the storage has not answered for this many seconds
NOTICE_SECONDS = 10.0
# errors that a retry cannot fix
PERMANENT = (IsADirectoryError, NotADirectoryError, FileExistsError)
# in seconds; each pause before a retry is twice as long as the pause before it
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0


@attrs.define
class Patience:
    """Pauses between retries, and a time limit, while a disk or object store fails."""

    limit: float = 600.0  # give up this many seconds after the first error
    _since: float | None = attrs.field(default=None, init=False)
    _pause: float = attrs.field(factory=lambda: FIRST_PAUSE, init=False)

    def wait(self, error: OSError) -> None:
        """Sleep before the next retry.

        Raises:
            OSError: `error` itself, if a retry cannot fix it or if the first error was
                at least `limit` seconds ago.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if isinstance(error, PERMANENT) or now - self._since >= self.limit:
            raise error
        time.sleep(min(self._pause, self.limit))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def reset(self) -> None:
        """Forget the earlier errors. Call this method when storage works again."""
        self._since, self._pause = None, FIRST_PAUSE


class Call(Generic[T]):
    """A function call in its own thread, because storage can take minutes to answer.

    A call that never ends does not keep the process alive.
    """

    def __init__(self, action: Callable[[], T]) -> None:
        """Start to run `action`."""
        self._started = time.monotonic()
        self._future: Future[T] = Future()

        def run() -> None:
            try:
                self._future.set_result(action())
            except BaseException as error:
                self._future.set_exception(error)

        threading.Thread(target=run, daemon=True, name="storage").start()

    @property
    def seconds(self) -> float:
        """How long ago the call started."""
        return time.monotonic() - self._started

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Wait at most `seconds` for the call to end; return whether it has ended."""
        return bool(wait([self._future], seconds).done)

    def result(self) -> T:
        """Return the result of a call that has ended, or raise its error.

        Raises:
            TimeoutError: The call has not ended.
        """
        if not self._future.done():
            raise TimeoutError(f"the storage has not answered for {self.seconds:.0f} s")
        return self._future.result()


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message.

    >>> first_line(OSError(28, "No space left on device"))
    'OSError: [Errno 28] No space left on device'
    """
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def message_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has no message.

    >>> message_line(OSError(28, "No space left on device"))
    '[Errno 28] No space left on device'
    >>> message_line(OSError())
    'OSError'
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
