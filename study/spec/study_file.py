"""Find a study by its name, or in a user's Python file."""

from __future__ import annotations

import inspect
import re
import runpy
import traceback
from pathlib import Path

from study.spec.search import SEARCHES, Search
from study.spec.studies import STUDIES, Study
from trainables.setting import REGISTRIES, Setting
from trainables.usage import UsageError, choose

MOVED = ("studies", "search", "space", "domain")
"""Modules of `study` that are in `study.spec` now."""

RENAMED = {"probe_every": "landscape_every"}
"""Old keywords of `Study`, and their new names."""


def find_study(name: str) -> Study | Search:
    """Return a study by its name, or the STUDY that a Python file defines.

    Raises:
        UsageError: There is no such study, or the file fails.
    """
    if not name.endswith(".py"):
        known: dict[str, Study | Search] = {**STUDIES, **SEARCHES}
        return known[choose("study", name, known)]
    if not Path(name).is_file():
        raise UsageError(f"{name}: no such file")
    try:
        study = runpy.run_path(name).get("STUDY")
    except (Exception, SystemExit) as error:
        raise UsageError(f"{_failed_line(name, error)}: {_explain(error)}") from error
    if not isinstance(study, Study | Search):
        raise UsageError(
            f"{name} must define STUDY = Study(name, settings, seeds) or "
            "Search(name, space, seeds)"
        )
    return study


def _failed_line(name: str, error: BaseException) -> str:
    """Return a file and its line that raised an error, as FILE:LINE."""
    if isinstance(error, SyntaxError):
        return f"{name}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == name
    ]
    return f"{name}:{lines[-1]}" if lines else name


def _explain(error: BaseException) -> str:
    """Return an error in one line, with a hint where the file is out of date."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package, _, module = (error.name or "").partition(".")
        if package == "study" and module in MOVED:
            return f"{error.name} has moved: import from study.spec.{module}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    wrong = re.match(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", text)
    if wrong and (hint := _explain_keyword(wrong[1], wrong[2])):
        return f"{wrong[1]}: {hint}"
    return ": ".join([type(error).__name__, *text.splitlines()[:1]])


def _explain_keyword(class_name: str, keyword: str) -> str | None:
    """Return what is wrong with a keyword of a study or of a part of one."""
    if class_name == "Study" and keyword in RENAMED:
        return f"{keyword} is now called {RENAMED[keyword]}"
    parts = [Study, Search, Setting]
    parts += [part for registry in REGISTRIES.values() for part in registry.values()]
    for part in parts:
        if part.__name__ == class_name:
            try:
                choose("keyword", keyword, inspect.signature(part).parameters)
            except UsageError as error:
                return str(error)
    return None
