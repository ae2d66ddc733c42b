"""Command lines: `tyro` makes one from a typed function and its docstring."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from trainables.usage import UsageError

Command = Callable[..., "int | None"]


def run_command(
    command: Command | Mapping[str, Command],
    prog: str,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Run a command, or one of several subcommands, and exit with what it returns.

    The exit code is 2 after a mistake of the caller: tyro explains a wrong option in a
    box, and a `UsageError` is one line; both go to standard error.

    Args:
        command: A function whose parameters are the options, or a dict of subcommands.
        prog: How the command is called, as in ``python -m analysis``.
        description: The text above the list of subcommands.
        args: The arguments; None: those of the process.
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
