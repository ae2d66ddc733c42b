"""Patience with storage: what fails is tried again, later and later, for a while."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

HOPELESS = (IsADirectoryError, NotADirectoryError, FileExistsError)
"""What no waiting mends."""

FIRST = 0.25
LONGEST = 5.0
"""Seconds before the second try, and the most between two; they double."""


@dataclass
class Patience:
    """How long errors of a disk or of an object store are waited for.

    Attributes:
        limit: Seconds.
    """

    limit: float = 600.0
    _since: float | None = field(default=None, init=False)
    _pause: float = field(default=FIRST, init=False)

    def wait(self, error: OSError) -> None:
        """Sleep before another try.

        Raises:
            OSError: The error, if no waiting mends it, or it has lasted too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if isinstance(error, HOPELESS) or now - self._since >= self.limit:
            raise error
        time.sleep(min(self._pause, self.limit))
        self._pause = min(2 * self._pause, LONGEST)

    def rest(self) -> None:
        """Forget the trouble: storage has answered."""
        self._since, self._pause = None, FIRST


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line.

    >>> first_line(OSError(28, "No space left on device"))
    'OSError: [Errno 28] No space left on device'
    """
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
