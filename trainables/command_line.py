"""Commands: a typed function becomes a command line, a mistake one clear line.

`tyro` reads a function's signature and docstring. What it prints as a box of several
lines becomes one line on standard error and exit code 2, as every other mistake of
the caller (`UsageError`) does, so that a script can show it as it is.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from trainables.usage import UsageError

Command = Callable[..., "int | None"]


_PLAINER = {
    r"^error parsing (--[\w-]+): ": r"\1: ",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is not a whole number",
    r"could not convert string to float: (.*)": r"\1 is not a number",
    r"no type matching .*INT could be .* \[(.*)\]\.": r"\1 is not a whole number",
    r"no type matching .*FLOAT could be .* \[(.*)\]\.": r"\1 is not a number",
}
"""What tyro says, and what a person says."""


def run_command(
    command: Command | Mapping[str, Command],
    prog: str,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Run a command, or one of several subcommands, and exit with its code.

    Args:
        command: A function whose parameters are the options, or a dict of them.
        prog: How the command is called, e.g. ``python -m analysis``.
        description: The text above the list of subcommands.
        args: The arguments; ``sys.argv[1:]`` if None.

    Exit codes: 2 for a wrong call, else what the command returns (None is 0).
    """
    try:
        sys.exit(_parse(command, prog, description, args)())
    except UsageError as mistake:
        _refuse(str(mistake))


def _parse(
    command: Command | Mapping[str, Command],
    prog: str,
    description: str | None,
    args: Sequence[str] | None,
) -> Callable[[], int | None]:
    """Parse the arguments, without calling the command."""
    import functools

    import tyro

    def later(function: Command) -> Callable[..., Callable[[], int | None]]:
        @functools.wraps(function)
        def bind(*values: Any, **options: Any) -> Callable[[], int | None]:
            return functools.partial(function, *values, **options)

        return bind

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            if callable(command):
                call: Any = tyro.cli(later(command), prog=prog, args=args)
            else:
                call = tyro.extras.subcommand_cli_from_dict(
                    {name: later(function) for name, function in command.items()},
                    prog=prog,
                    description=description,
                    args=args,
                )
    except SystemExit as stop:
        if stop.code:
            message = _condense(box.getvalue()).rstrip(".")
            _refuse(f"{message} ({prog} --help tells more)")
        raise
    return call  # type: ignore[no-any-return]


def _condense(box: str) -> str:
    r"""Return the message in one of tyro's boxes as one line.

    >>> _condense("╭─ Oops ──╮\n│ Unrecognized options: --formt │\n│ ───── │\n"
    ...           "│ Perhaps you meant: │\n│     --format │\n│ ───── │\n│ For ... │")
    'unrecognized options: --formt; perhaps you meant: --format'
    """
    parts: list[list[str]] = [[]]
    # the first line is the box's title; where standard output is not UTF-8 the box is
    # drawn with spaces and hyphens
    for line in box.splitlines()[1:]:
        text = line.strip("│╰╯ \t")
        if set(text) <= {"─", "-"}:
            parts.append([])
        else:
            parts[-1].append(text)
    first, *others = [" ".join(part) for part in parts if part] or ["wrong call"]
    suggested = [
        "; perhaps you meant: " + _nearest(first, names)
        for other in others
        if other.startswith("Perhaps") and (names := re.findall(r"--[\w-]+", other))
    ]
    listed = ["; " + o[0].lower() + o[1:] for o in others if o.startswith("Available")]
    line = first[0].lower() + first[1:] + "".join(suggested + listed)
    for pattern, plain in _PLAINER.items():
        line = re.sub(pattern, plain, line)
    return line


def _nearest(said: str, names: Sequence[str]) -> str:
    """Return the option most like the first one said; tyro's first is not always."""
    meant = re.search(r"--[\w-]+", said)
    known = difflib.get_close_matches(meant[0] if meant else "", names, 1, cutoff=0)
    return known[0] if known else names[0]


def _refuse(message: str) -> NoReturn:
    """Print the one line and exit with 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
