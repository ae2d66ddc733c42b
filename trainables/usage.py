"""Mistakes of the caller."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """A mistake of the caller; the text is one line that says what to do."""


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is known.

    >>> choose("dataset", "mnst", ["mnist", "kmnist"])
    Traceback (most recent call last):
    trainables.usage.UsageError: unknown dataset 'mnst': \
did you mean 'mnist'? Known: kmnist, mnist

    Raises:
        UsageError: The name is unknown; the message suggests the nearest name.
    """
    names = sorted(known)
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown {kind} {name!r}: {hint}Known: {', '.join(names)}")
