"""The console that all commands print to, and types of command-line options."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from rich.text import Text as RichText
from tyro.constructors import PrimitiveConstructorSpec

from trainables.usage import printable


def _number(parse: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """Return tyro's description of an option whose value is a number.

    Text that is not a number stays text. The command then shows an error of one line,
    and tyro's own error would have ten lines.
    """

    def parse_words(words: list[str]) -> Any:
        with contextlib.suppress(ValueError):
            return parse(words[0])
        return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=parse_words,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


INT, FLOAT = _number(int, "INT"), _number(float, "FLOAT")

T = TypeVar("T")
Options = Annotated[tyro.conf.OmitArgPrefixes[T], tyro.conf.arg(name="")]
"""The type of a command's parameter whose fields are the options of the command."""

Flag = tyro.conf.FlagCreatePairsOff[bool]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, INT]
Real = Annotated[float | None, FLOAT]


class _SafeConsole(Console):
    """A console that replaces the control characters in all text that it prints."""

    def render_str(self, text: str, **options: Any) -> RichText:
        return super().render_str(printable(text), **options)


console = _SafeConsole(highlight=False, markup=False, emoji=False)
"""The only console of this process. Each call writes to the current `sys.stdout`."""

if not console.is_terminal:
    console.width = 140  # tables need more than rich's default of 80 columns


def say(line: str) -> None:
    """Print one line above the progress display; do not wrap or cut the line."""
    console.print(line, soft_wrap=True)


@contextlib.contextmanager
def only_console_prints() -> Iterator[None]:
    """Discard standard output except the text that `console` prints.

    Ray prints a page of text for each worker that is killed.
    """
    console.file = console.file  # keep the real standard output for the console
    try:
        with open(os.devnull, "w") as devnull, contextlib.redirect_stdout(devnull):
            yield
    finally:
        console.file = None  # type: ignore[assignment]
