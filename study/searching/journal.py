"""The journal of a search: the files, next to the records, with Optuna's data.

The files have Optuna's own format: one line of JSON for each operation. Optuna's own
writer appends to a file. If this writer is killed, the last line can be incomplete, and
then nothing can read the file any more. So this module replaces a whole file at each
flush. To keep the files small, a full file gets no more lines: `optuna.journal.1`
follows `optuna.journal`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial

from study.results.files import Files
from study.spec.objectives import direction
from study.spec.search import JOURNAL, Search
from trainables.patience import first_line
from trainables.setting import Setting
from trainables.usage import UsageError

# The names of attributes, which existing journals use. Optuna's study has
# `Search.request()` and, if a sweep needs a claim to write (`study.results.claim`), the
# claim. Each trial has its setting, as a row without nulls.
REQUEST, CLAIM, SETTING = "asked", "claim", "setting"

# a file of the journal that has this many bytes is full: a new file follows it
PART_BYTES = 1_000_000


def journal_parts(files: Files) -> list[str]:
    """Return the names of the files of the journal, from the first to the last."""
    pattern = re.compile(rf"{re.escape(JOURNAL)}(\.\d+)?")
    names = filter(pattern.fullmatch, files.names("", ""))
    return sorted(names, key=lambda name: (len(name), name))


def _part_name(number: int) -> str:
    return f"{JOURNAL}.{number}" if number else JOURNAL


class Journal(BaseJournalBackend):
    """Optuna's operations in memory. `flush` writes them to the files of the search.

    Only one sweep at a time may write the files.
    """

    def __init__(self, files: Files) -> None:
        """Read the journal's files, if there are any.

        Raises:
            ValueError: A file is missing, empty or incomplete.
        """
        self._files = files
        self._logs: list[dict[str, Any]] = []
        self._part, self._content = 0, b""  # the file that `flush` writes
        for self._part, name in enumerate(journal_parts(files)):
            if name != _part_name(self._part):
                raise ValueError(f"{_part_name(self._part)} is missing")
            self._content = files.load(name)
            # an empty file is damaged: a new search has no file yet
            if not self._content.endswith(b"\n"):
                raise ValueError(f"{name} is empty or its end is missing")
            try:
                lines = self._content.decode().splitlines()
                self._logs += [json.loads(line) for line in lines]
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        self._flushed = len(self._logs)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return all operations from the number `log_number_from` to the last."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations in memory. Only `flush` writes operations to a file."""
        self._logs += json.loads(json.dumps(logs))  # types as after reading a file

    def flush(self) -> None:
        """Write the last file, if there are new operations.

        Raises:
            OSError: The storage fails.
        """
        if new := self._logs[self._flushed :]:
            lines = (json.dumps(log, separators=(",", ":")) for log in new)
            content = self._content + "".join(f"{line}\n" for line in lines).encode()
            self._files.save(_part_name(self._part), content)
            self._content, self._flushed = content, self._flushed + len(new)
            if len(content) >= PART_BYTES:
                self._part, self._content = self._part + 1, b""


def _open_journal(files: Files) -> tuple[Journal, JournalStorage]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        journal = Journal(files)
        return journal, JournalStorage(journal)
    except OSError:
        raise
    except Exception as error:  # corrupt input can raise anything
        raise UsageError(
            f"{files.location(JOURNAL)} cannot be read ({first_line(error)}): "
            f"run python -m study.status {files.results} --fix to move the journal "
            "away, then start the search again"
        ) from error


def open_search(files: Files, search: Search) -> tuple[Journal, optuna.Study]:
    """Load or create the journal of a search; return it and Optuna's study.

    Raises:
        UsageError: The journal is damaged or belongs to another search.
        OSError: The storage fails.
    """
    while True:
        journal, study = _open_search(files, search)
        if files.claim is None:
            return journal, study
        # After two rounds, an earlier holder of the claim can neither overwrite the
        # last file nor, if that file is full, create the next file. If an earlier
        # holder has just written one of these files, read the journal again.
        with contextlib.suppress(FileExistsError):
            for _ in range(2):
                study.set_user_attr(CLAIM, files.claim.stamp)
                journal.flush()
            return journal, study


def _open_search(files: Files, search: Search) -> tuple[Journal, optuna.Study]:
    journal, storage = _open_journal(files)
    study = optuna.create_study(
        storage=storage,
        study_name=search.name,
        directions=[direction(name, search.measure) for name in search.objectives],
        load_if_exists=True,
    )
    request, saved = search.request(), study.user_attrs.get(REQUEST)
    if saved is None:
        study.set_user_attr(REQUEST, request)
    elif saved != request:
        changes = [key for key in request if saved.get(key) != request[key]]
        raise UsageError(
            f"{files.location()} has a search with other {' and '.join(changes)}: use "
            "the same values, or choose another folder with --results"
        )
    return journal, study


def load_search(files: Files) -> optuna.Study | None:
    """Load Optuna's study of a search to read it. Return None if there is no search.

    Raises:
        UsageError: The journal is damaged.
        OSError: The storage fails.
    """
    _, storage = _open_journal(files)
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=names[0], storage=storage) if names else None


def setting_of(trial: FrozenTrial) -> Setting:
    """Return the setting of a trial of Optuna."""
    return Setting.from_row(trial.user_attrs[SETTING])
