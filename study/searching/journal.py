"""What Optuna knows of a search: its journal, a file beside the records.

It is Optuna's own journal (a line of JSON for each operation; its `JournalStorage` and
what is made for that can read it), but it is written as every other file here: whole,
or not at all. Optuna's own file is appended to, and cannot be read any more once a
writer was killed in the middle of a line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from study.results.files import Files
from study.spec.objectives import OBJECTIVES
from study.spec.search import JOURNAL, Search
from trainables.usage import UsageError

ASKED = "asked"
"""The attribute of Optuna's study that says what every trial has in common."""


class Journal(BaseJournalBackend):
    """The journal in memory, written on `flush`: one sweep at a time has it."""

    def __init__(self, files: Files) -> None:
        """Read what there is.

        Raises:
            ValueError: It is damaged.
            OSError: Storage fails.
        """
        self._files = files
        self._lines: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            self._lines = files.read(JOURNAL).decode().splitlines()
        self._logs = [json.loads(line) for line in self._lines]
        self._kept = len(self._lines)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the operations from a number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Take operations; `flush` writes them."""
        for log in logs:
            self._lines.append(json.dumps(log, separators=(",", ":")))
            self._logs.append(json.loads(self._lines[-1]))

    def flush(self) -> None:
        """Write the journal, if it has grown.

        Raises:
            OSError: Storage fails; it can be tried again.
        """
        if len(self._lines) > self._kept:
            count = len(self._lines)
            self._files.put(JOURNAL, ("\n".join(self._lines) + "\n").encode())
            self._kept = count


def open_journal(files: Files) -> tuple[Journal, JournalStorage]:
    """Return the journal, and Optuna's view of it.

    Raises:
        UsageError: It is damaged.
        OSError: Storage fails.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        journal = Journal(files)
        return journal, JournalStorage(journal)
    except OSError:
        raise
    except Exception as error:  # whatever a stranger's bytes bring about
        raise UsageError(
            f"{files.location(JOURNAL)} cannot be read ({type(error).__name__}): "
            "python -m study.status --fix sets it aside; the search then begins anew"
        ) from error


def open_search(files: Files, search: Search) -> tuple[Journal, optuna.Study]:
    """Return the journal and Optuna's study for a search, made if there is none.

    Raises:
        UsageError: It is damaged, or another search's.
        OSError: Storage fails.
    """
    journal, storage = open_journal(files)
    study = optuna.create_study(
        storage=storage,
        study_name=search.name,
        directions=[OBJECTIVES[name].direction for name in search.objectives],
        load_if_exists=True,
    )
    before = study.user_attrs.get(ASKED)
    if before is None:
        study.set_user_attr(ASKED, search.asked())
    elif before != search.asked():
        odd = [key for key in search.asked() if before.get(key) != search.asked()[key]]
        raise UsageError(
            f"{files.location()} holds a search with other {' and '.join(odd)}: "
            "give it the same, or another --results"
        )
    return journal, study


def found_study(files: Files) -> optuna.Study | None:
    """Return Optuna's study of a search, to read it; None: there is no search.

    Raises:
        UsageError: It is damaged.
        OSError: Storage fails.
    """
    _, storage = open_journal(files)
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=names[0], storage=storage) if names else None
