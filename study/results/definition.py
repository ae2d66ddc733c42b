"""What a study's results were asked to hold: `study.json`, beside the records.

It tells what is missing, and which seeds are trained side by side: a stack of other
seeds would give the same results only to rounding, so an interrupted study goes on
with the stacks that it was begun with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from study.console import say
from study.plan.stacks import parse_stack_name, stack_name
from study.plan.trials import Trial
from study.results.files import Files
from study.spec.studies import Study
from trainables.record import SCHEMA_VERSION
from trainables.setting import Row
from trainables.usage import UsageError

FILE = "study.json"


@dataclass(frozen=True)
class Definition:
    """All that was ever asked for under a study's name.

    Attributes:
        settings: Their rows, by setting_id.
        seeds: By setting_id.
        stacks: The names of the stacks that were planned and may not be done.
        slots: How many trials were to run at once when they were.
        search: What a search asks for (`study.spec.search.Search.asked`, and how many
            trials); its settings stand in its journal. None: it is no search.
    """

    settings: dict[str, Row] = field(default_factory=dict)
    seeds: dict[str, frozenset[int]] = field(default_factory=dict)
    stacks: tuple[str, ...] = ()
    slots: int = 0
    search: dict[str, Any] | None = None

    def asked_too(self, study: Study) -> Definition:
        """Return this with a study's settings and seeds."""
        rows = ((setting.setting_id, setting.row()) for setting in study.settings)
        return self.with_rows(rows, frozenset(study.seeds))

    def with_rows(
        self, rows: Iterable[tuple[str, Row]], new: frozenset[int]
    ) -> Definition:
        """Return this with settings, by setting_id, and their seeds."""
        settings, seeds = dict(self.settings), dict(self.seeds)
        for name, row in rows:
            settings[name] = _known(row)
            seeds[name] = seeds.get(name, frozenset()) | new
        return replace(self, settings=settings, seeds=seeds)

    def planned(self, study: Study, trials: Sequence[Trial], slots: int) -> Definition:
        """Return this with a study's stacks."""
        mine = {setting.setting_id for setting in study.settings}
        others = [s for s in self.stacks if parse_stack_name(s)[0] not in mine]
        stacks = sorted({*others, *(trial.name for trial in trials)})
        return replace(self, stacks=tuple(stacks), slots=max(slots, self.slots))

    def kept_stacks(self, slots: int) -> list[tuple[str, tuple[int, ...]]]:
        """Return the stacks to go on with; none if more trials can run at once now."""
        if slots > self.slots:
            return []
        return [parse_stack_name(name) for name in self.stacks]

    def others(self, study: Study) -> int:
        """Return how many settings the study does not have."""
        return len(self.settings.keys() - {s.setting_id for s in study.settings})

    def to_json(self, study: str) -> bytes:
        """Return the file, which what it holds determines."""
        asked = [
            {
                "setting_id": name,
                "seeds": stack_name("", self.seeds[name]).removeprefix("-seeds-"),
                "setting": self.settings[name],
            }
            for name in sorted(self.settings)
        ]
        whole = {
            "schema_version": SCHEMA_VERSION,
            "study": study,
            "settings": asked,
            "slots": self.slots,
            "stacks": list(self.stacks),
            **({} if self.search is None else {"search": self.search}),
        }
        return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


def load(files: Files, repair: bool = False) -> Definition:
    """Return what was asked for, as far as is known.

    Args:
        files: The study's.
        repair: Set a damaged file aside, and say so.

    Raises:
        UsageError: A newer version of this program wrote it.
        OSError: Storage fails.
    """
    try:
        found: Any = json.loads(files.read(FILE))
        version = found["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UsageError(
                f"{files.where()} was made by a newer version of this program, with "
                f"schema {version}; this one knows {SCHEMA_VERSION}: update it"
            )
        asked = {entry["setting_id"]: entry for entry in found["settings"]}
        return Definition(
            {name: dict(entry["setting"]) for name, entry in asked.items()},
            {name: frozenset(_seeds(e["seeds"])) for name, e in asked.items()},
            tuple(map(str, found["stacks"])),
            int(found["slots"]),
            found.get("search"),
        )
    except FileNotFoundError:
        return Definition()
    except (ValueError, KeyError, TypeError, AttributeError):
        if repair:
            aside = files.where(files.set_aside(FILE))
            say(f"cannot be read, set aside to be made again: {aside}")
        return Definition()


def _seeds(text: str) -> tuple[int, ...]:
    return parse_stack_name(f"0-seeds-{text}")[1]


def keep(files: Files, definition: Definition) -> None:
    """Write what was asked for, if it has changed."""
    content = definition.to_json(files.study)
    try:
        if files.read(FILE) == content:
            return
    except FileNotFoundError:
        pass
    files.put(FILE, content)
