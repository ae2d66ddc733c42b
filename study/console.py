"""The console of the commands, and the types of their options."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated

import tyro
from rich.console import Console

Flag = tyro.conf.FlagCreatePairsOff[bool]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Real = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]

PLAIN_WIDTH = 140
"""Columns of a table where standard output is not a terminal; rich would take 80."""


def _make_console() -> Console:
    """Return a console on whatever `sys.stdout` is at each call."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = PLAIN_WIDTH
    return made


console = _make_console()
"""The one console of this process; messages go through `say`."""


def say(line: str) -> None:
    """Print one line, never wrapped or cut; a live line on the terminal stays below."""
    console.print(line, soft_wrap=True)


@contextlib.contextmanager
def only_console_prints() -> Iterator[None]:
    """Discard what others print: Ray writes a page for each worker that is killed."""
    console.file = console.file  # pin standard output before it is redirected
    try:
        with open(os.devnull, "w") as devnull, contextlib.redirect_stdout(devnull):
            yield
    finally:
        console.file = None  # type: ignore[assignment]
