"""The memory of a search: Optuna's journal, a file beside the records.

The format is Optuna's: a JSON line for each operation, which its `JournalStorage`
reads. But Optuna appends to the file, so a killed writer leaves half a line, after
which the file cannot be read. Here the whole file is replaced at each flush.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial

from study.results.files import Files
from study.spec.objectives import OBJECTIVES
from study.spec.search import JOURNAL, Search
from trainables.setting import Setting
from trainables.usage import UsageError

REQUEST = "asked"
"""Attribute of Optuna's study: `Search.request()`. Old journals fix its name."""

SETTING = "setting"
"""Attribute of Optuna's trials: the setting's row without nulls."""


class Journal(BaseJournalBackend):
    """The journal in memory, written by `flush`. One sweep at a time has it."""

    def __init__(self, files: Files) -> None:
        """Read the file, if there is one."""
        self._files = files
        lines: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            lines = files.read(JOURNAL).decode().splitlines()
        self._logs = [json.loads(line) for line in lines]
        self._flushed = len(self._logs)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the operations from a number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations in memory."""
        self._logs += json.loads(json.dumps(logs))  # as they will be read

    def flush(self) -> None:
        """Write the file if there are new operations; raise OSError if that fails."""
        if (count := len(self._logs)) > self._flushed:
            lines = (json.dumps(log, separators=(",", ":")) for log in self._logs)
            self._files.put(JOURNAL, "".join(f"{line}\n" for line in lines).encode())
            self._flushed = count


def _open_journal(files: Files) -> tuple[Journal, JournalStorage]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        journal = Journal(files)
        return journal, JournalStorage(journal)
    except OSError:
        raise
    except Exception as error:  # corrupt input can raise anything
        raise UsageError(
            f"{files.location(JOURNAL)} cannot be read ({type(error).__name__}): "
            "python -m study.status --fix sets it aside, and the search starts again"
        ) from error


def open_search(files: Files, search: Search) -> tuple[Journal, optuna.Study]:
    """Return the journal and Optuna's study of a search, new if there is none.

    Raises:
        UsageError: The journal is damaged, or is another search's.
        OSError: Storage fails.
    """
    journal, storage = _open_journal(files)
    study = optuna.create_study(
        storage=storage,
        study_name=search.name,
        directions=[OBJECTIVES[name].direction for name in search.objectives],
        load_if_exists=True,
    )
    request, saved = search.request(), study.user_attrs.get(REQUEST)
    if saved is None:
        study.set_user_attr(REQUEST, request)
    elif saved != request:
        changes = [key for key in request if saved.get(key) != request[key]]
        raise UsageError(
            f"{files.location()} holds a search with other {' and '.join(changes)}: "
            "give it the same, or another --results"
        )
    return journal, study


def load_search(files: Files) -> optuna.Study | None:
    """Return Optuna's study of a search, to read only; None: there is no search.

    Raises:
        UsageError: The journal is damaged.
        OSError: Storage fails.
    """
    _, storage = _open_journal(files)
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=names[0], storage=storage) if names else None


def setting_of(trial: FrozenTrial) -> Setting:
    """Return the setting of one of Optuna's trials."""
    return Setting.from_row(trial.user_attrs[SETTING])
