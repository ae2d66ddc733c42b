"""Finding a study: by its name, or in a Python file of one's own."""

from __future__ import annotations

import dataclasses
import re
import runpy
import traceback
from pathlib import Path
from typing import Any

from study.spec.search import SEARCHES, Search
from study.spec.studies import STUDIES, Study
from trainables.bases import BASES
from trainables.interventions import INTERVENTIONS
from trainables.optimizers import OPTIMIZERS
from trainables.problems import PROBLEMS
from trainables.setting import Setting
from trainables.usage import UsageError, choose


def find_study(name: str) -> Study | Search:
    """Return a study by its name, or the STUDY that a Python file defines.

    Raises:
        UsageError: There is none, or the file fails.
    """
    if not name.endswith(".py"):
        known: dict[str, Study | Search] = {**STUDIES, **SEARCHES}
        return known[choose("study", name, known)]
    if not Path(name).is_file():
        raise UsageError(f"{name}: no such file")
    try:
        study = runpy.run_path(name).get("STUDY")
    except (Exception, SystemExit) as error:
        raise UsageError(f"{_where(name, error)}: {_why(error)}") from error
    if not isinstance(study, Study | Search):
        raise UsageError(
            f"{name} must define STUDY = Study(name, settings, seeds) or "
            "Search(name, space, seeds)"
        )
    return study


def _where(name: str, error: BaseException) -> str:
    """Return the file and the line of it that failed."""
    if isinstance(error, SyntaxError):
        return f"{name}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == name
    ]
    return f"{name}:{lines[-1]}" if lines else name


def _why(error: BaseException) -> str:
    """Return what went wrong, in one line; a wrong keyword offers the nearest one."""
    if isinstance(error, UsageError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    wrong = re.match(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", text)
    registries = (OPTIMIZERS, PROBLEMS, BASES, INTERVENTIONS)
    parts: tuple[type[Any], ...] = (
        Study,
        Search,
        Setting,
        *(part for kind in registries for part in kind.values()),
    )
    for part in parts:
        if wrong and wrong[1] == part.__name__:
            try:
                choose("keyword", wrong[2], [f.name for f in dataclasses.fields(part)])
            except UsageError as mistake:
                return f"{part.__name__}: {mistake}"
    return ": ".join([type(error).__name__, *text.splitlines()[:1]])
