"""If storage fails, retry after longer and longer pauses, up to a time limit."""

from __future__ import annotations

import time

import attrs

PERMANENT = (IsADirectoryError, NotADirectoryError, FileExistsError)
"""Errors that a retry cannot fix."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""The first and the longest pause before a retry, in seconds.

Each pause is twice as long as the previous one, but not longer than `LONGEST_PAUSE`.
"""


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


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message.

    >>> first_line(OSError(28, "No space left on device"))
    'OSError: [Errno 28] No space left on device'
    """
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
