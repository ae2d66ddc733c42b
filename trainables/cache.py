"""Where the programs keep between commands what can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """Return the user's folder for it, which need not be there yet.

    Raises:
        RuntimeError: The user has no home, and $XDG_CACHE_HOME is not set.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "plasticity-study"
