"""Run `python -m analysis` in this process, which saves the time of its imports."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import analysis.__main__


class Done(NamedTuple):
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def call(*args: object, cwd: Path | str = ".") -> Done:
    """Run `python -m analysis` with these arguments, in the folder `cwd`."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", ["analysis", *map(str, args)]),
    ):
        try:
            runpy.run_path(analysis.__main__.__file__, run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
