"""Find a study by its name, or load a study from a user's Python file."""

from __future__ import annotations

import re
import runpy
import traceback
from pathlib import Path
from typing import Any

import attrs

from study.spec.search import SEARCHES, Search
from study.spec.studies import STUDIES, Study
from trainables.setting import REGISTRIES, Setting
from trainables.usage import UsageError, choose

# modules that were moved from `study` to `study.spec`
MOVED = ("studies", "search", "space", "domain")
# old names of the arguments of `Study`, and their new names
RENAMED = {"probe_every": "landscape_every"}

CLASSES: dict[str, Any] = {cls.__name__: cls for cls in (Study, Search, Setting)} | {
    part.__name__: part for parts in REGISTRIES.values() for part in parts.values()
}
"""Classes by name. If a file uses a wrong keyword for one, the error has a hint."""


def find_study(name: str) -> Study | Search:
    """Return a study by its name, or the STUDY that a Python file defines.

    Raises:
        UsageError: The study or the file does not exist, or the file raises an error.
    """
    if not name.endswith(".py"):
        studies: dict[str, Study | Search] = {**STUDIES, **SEARCHES}
        return studies[choose("study", name, studies)]
    if not Path(name).is_file():
        raise UsageError(f"{name}: no such file. Check the path of the Python file")
    try:
        study = runpy.run_path(name).get("STUDY")
    except (Exception, SystemExit) as error:
        raise UsageError(f"{_failed_line(name, error)}: {_explain(error)}") from error
    if not isinstance(study, Study | Search):
        raise UsageError(
            f"{name} must define STUDY = Study(name, settings, seeds) or "
            "STUDY = Search(name, space, seeds)"
        )
    return study


def _failed_line(name: str, error: BaseException) -> str:
    """Return the line of a file that raised an error, as the text FILE:LINE."""
    if isinstance(error, SyntaxError):
        return f"{name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == name]
    return f"{name}:{lines[-1]}" if lines else name


def _explain(error: BaseException) -> str:
    """Return an error as one line, with a hint if a name is old or misspelled."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package, _, module = (error.name or "").partition(".")
        if package == "study" and module in MOVED:
            return f"{error.name} has moved: import from study.spec.{module}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    wrong = re.match(r"(\w+)\.__init__\(\) got an unexpected .* '(\w+)'", text)
    if wrong and wrong[1] in CLASSES:
        if wrong[1] == "Study" and wrong[2] in RENAMED:
            return f"Study: {wrong[2]} is now called {RENAMED[wrong[2]]}"
        try:
            choose("keyword", wrong[2], attrs.fields_dict(CLASSES[wrong[1]]))
        except UsageError as unknown:
            return f"{wrong[1]}: {unknown}"
    return ": ".join([type(error).__name__, *text.splitlines()[:1]])
