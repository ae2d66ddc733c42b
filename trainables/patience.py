"""Patience with failing storage: retry after growing pauses, up to a time limit."""

from __future__ import annotations

import time

import attrs

PERMANENT = (IsADirectoryError, NotADirectoryError, FileExistsError)
"""Errors that retrying cannot fix."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds before a retry: the pause doubles from the first to the longest."""


@attrs.define
class Patience:
    """How long to retry while a disk or an object store raises errors."""

    limit: float = 600.0  # seconds from the first error
    _since: float | None = attrs.field(default=None, init=False)
    _pause: float = attrs.field(factory=lambda: FIRST_PAUSE, init=False)

    def wait(self, error: OSError) -> None:
        """Sleep before the next try.

        Raises:
            OSError: `error` is permanent, or the first error was `limit` seconds ago.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if isinstance(error, PERMANENT) or now - self._since >= self.limit:
            raise error
        time.sleep(min(self._pause, self.limit))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def reset(self) -> None:
        """Forget the earlier errors, because storage works again."""
        self._since, self._pause = None, FIRST_PAUSE


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message.

    >>> first_line(OSError(28, "No space left on device"))
    'OSError: [Errno 28] No space left on device'
    """
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
