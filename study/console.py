"""The console that the commands of this package speak on."""

from __future__ import annotations

from rich.console import Console


def open_console() -> Console:
    """Return standard output; where it is no terminal, lines are not cut to 80."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 140
    return console
