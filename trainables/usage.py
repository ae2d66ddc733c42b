"""Mistakes of the caller, and the command lines that report them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

Command = Callable[..., "int | None"]


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


def run_command(
    command: Command | Mapping[str, Command],
    prog: str,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Run a command, or one of several subcommands, and exit with what it returns.

    `tyro` makes the options from the parameters and the docstring of a function. The
    exit code is 2 after a mistake of the caller: tyro explains a wrong option in a
    box, and a `UsageError` is one line; both go to standard error.

    Args:
        command: A function, or a dict of subcommands.
        prog: How the command is called, as in ``python -m analysis``.
        description: The text above the list of subcommands.
        args: None: the arguments of the process.
    """
    import tyro

    try:
        if callable(command):
            code = tyro.cli(command, prog=prog, args=args)
        else:
            code = tyro.extras.subcommand_cli_from_dict(
                dict(command), prog=prog, description=description, args=args
            )
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
