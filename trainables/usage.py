"""The error for mistakes of the caller, and the command lines that report it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

Command = Callable[..., "int | None"]


class UsageError(Exception):
    """A mistake of the caller. Its message is one line that says what to do."""


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is one of the `known` names.

    >>> choose("dataset", "mnst", ["mnist", "kmnist"])
    Traceback (most recent call last):
    trainables.usage.UsageError: unknown dataset 'mnst': \
did you mean 'mnist'? Known: kmnist, mnist

    Raises:
        UsageError: The name is unknown. The message suggests the most similar name.
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
    """Run a command, or one of several subcommands, and exit with its return value.

    `tyro` makes the options from the parameters and the docstring of a function. After
    a mistake of the caller, the exit code is 2 and an explanation goes to standard
    error: a box from tyro for a wrong option, or one line for a `UsageError`.

    Args:
        command: A function, or a dict of subcommands.
        prog: The command as the user types it, for example ``python -m analysis``.
        description: The text above the list of subcommands.
        args: The arguments, or None for the arguments of the process.
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
