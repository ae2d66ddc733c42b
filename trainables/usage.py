"""Text for users: their mistakes in one line, and durations."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import attrs

Command = Callable[..., "int | None"]


CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
"""A regular expression for the control characters, except tabs and ends of lines."""


class UsageError(Exception):
    """The user made a mistake. The message is one line and says what to do."""


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is in `known`; otherwise raise an error with a suggestion.

    >>> choose("dataset", "mnst", ["mnist", "kmnist"])
    Traceback (most recent call last):
    trainables.usage.UsageError: unknown dataset 'mnst': \
did you mean 'mnist'? Known: kmnist, mnist

    Raises:
        UsageError: `name` is not in `known`.
    """
    names = sorted(known)
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else "."
    raise UsageError(f"unknown {kind} {name!r}{hint} Known: {', '.join(names)}")


def check_no_keys(words: Iterable[str]) -> None:
    """Refuse access keys in a URI, before any message or page can repeat them.

    >>> check_no_keys(["s3://bucket/prefix?region=eu-west-1", "a@b"])
    >>> check_no_keys(["gs://anonymous@bucket/prefix"])
    >>> check_no_keys(["--results=s3://KEY:SECRET@bucket"])
    Traceback (most recent call last):
    trainables.usage.UsageError: a URI contains access keys, which other people could \
see: remove the keys and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY

    Raises:
        UsageError: A word has a URI with a name other than anonymous before the host.
            Or the path of the URI has a colon and then an @, which is possibly the end
            of a secret that contains slashes.
    """
    for word in words:
        if re.search(r"://(?!anonymous@)([^/?#\s]*|[^?#\s]*:[^?#\s]*)@", word):
            raise UsageError(
                "a URI contains access keys, which other people could see: remove the "
                "keys and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )


def printable(text: str) -> str:
    r"""Replace control characters, which could change a terminal, by U+FFFD.

    Tabs and ends of lines stay.

    >>> printable("\x1b[2Jred\n")
    '�[2Jred\n'
    """
    return re.sub(CONTROL, "\ufffd", text)


def run_command(
    command: Command | Mapping[str, Command],
    prog: str,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> NoReturn:
    """Run a command, or one of several subcommands, and exit with its return value.

    `tyro` derives the options from the parameters and the docstring of a function. If
    the user makes a mistake, the exit code is 2 and the error is printed to standard
    error: as a box for a wrong option, and as one line for a `UsageError`.

    Args:
        command: A function, or a dict of functions by the name of the subcommand.
        prog: The command as the user types it, for example ``python -m analysis``.
        description: The text above the list of subcommands.
        args: The arguments, or None for the arguments of the process.
    """
    import tyro

    for function in [command] if callable(command) else command.values():
        _join_lines(function)
    try:
        check_no_keys(sys.argv[1:] if args is None else args)
        with _exit_if_output_is_closed():
            if callable(command):
                code = tyro.cli(command, prog=prog, args=args)
            else:
                code = tyro.extras.subcommand_cli_from_dict(
                    dict(command), prog=prog, description=description, args=args
                )
    except UsageError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        code = 2
    sys.exit(code)


@contextlib.contextmanager
def _exit_if_output_is_closed() -> Iterator[None]:
    """Exit with 1 if the program that reads the output has ended, as with `| head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        raise  # the pipe is another one, for example a connection


def _join_lines(function: Command) -> None:
    """Make one line of each option in the docstrings from which `tyro` takes them.

    `tyro` would keep most ends of lines, and then break the lines at the width of the
    terminal too. The docstrings are those of the function and of its options' classes.
    """
    for part in (function, *typing.get_type_hints(function).values()):
        if part is function or attrs.has(part):
            text = inspect.cleandoc(part.__doc__ or "")
            part.__doc__ = re.sub(r"\n {8,}", " ", text)


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as text, in hours, minutes and seconds.

    >>> format_duration(5), format_duration(65), format_duration(7384)
    ('5 s', '1 min 5 s', '2 h 3 min')
    """
    minutes, second = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {second} s" if minutes else f"{second} s"
    return f"{minutes // 60} h {minutes % 60} min"
