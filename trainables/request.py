"""The request: the settings and seeds that a study's results are to hold.

`study.json` keeps it beside the records. It says which runs are missing, and which
seeds are trained side by side: a stack of other seeds gives results that are equal only
to rounding, so an interrupted study resumes with the stacks that it began with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from trainables.record import SCHEMA_VERSION
from trainables.usage import UsageError

REQUEST_FILE = "study.json"

MOST = 1_000_000
"""Most seeds in a text: a corrupt one must not fill the memory."""

NEEDED = ("problem", "dataset", "tasks", "optimizer", "lr")
"""Columns that every setting has."""


def seeds_text(seeds: Iterable[int]) -> str:
    """Return different seeds as text: spans joined by '+'.

    >>> seeds_text([2, 0, 1, 7])
    '0-2+7'
    """
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][-1] + 1:
            spans[-1][1:] = [seed]
        else:
            spans.append([seed])
    return "+".join("-".join(map(str, span)) for span in spans)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a text that `seeds_text` made, in order.

    >>> parse_seeds("0-2+7")
    (0, 1, 2, 7)

    Raises:
        ValueError: `seeds_text` makes no such text, or it has more than `MOST` seeds.
    """
    seeds: list[int] = []
    for span in text.split("+"):
        first, _, last = span.partition("-")
        start, stop = int(first), int(last or first) + 1
        if len(seeds) + stop - start > MOST:
            raise ValueError(f"seeds {text!r}: more than {MOST}")
        seeds.extend(range(start, stop))
    if seeds_text(set(seeds)) != text:
        raise ValueError(f"seeds {text!r}")
    return tuple(seeds)


def stack_name(setting_id: str, seeds: Iterable[int]) -> str:
    """Return the name of a stack's files, without their suffix.

    >>> stack_name("f00d", [2, 0, 1, 7])
    'f00d-seeds-0-2+7'
    """
    return f"{setting_id}-seeds-{seeds_text(seeds)}"


def parse_stack_name(name: str) -> tuple[str, tuple[int, ...]]:
    """Return the setting_id and the seeds of a stack; no seeds for any other name.

    >>> parse_stack_name("f00d-seeds-0-2+7")
    ('f00d', (0, 1, 2, 7))
    >>> parse_stack_name("notes")
    ('notes', ())
    """
    if match := re.fullmatch(r"([0-9a-f]+)-seeds-(.*)", name, re.ASCII):
        try:
            return match[1], parse_seeds(match[2])
        except ValueError:
            pass
    return name, ()


@attrs.frozen(kw_only=True)
class Request:
    """All settings and seeds that were ever requested under a study's name.

    Settings are rows without nulls; they and their seeds are by setting_id. A search
    requests a space, seeds, objectives and a number of trials; its settings are in its
    journal.
    """

    study: str  # the study's name
    settings: Mapping[str, dict[str, Any]] = attrs.field(factory=dict)
    seeds: Mapping[str, frozenset[int]] = attrs.field(factory=dict)
    stacks: tuple[str, ...] = ()  # names of planned stacks; some may be finished
    slots: int = 0  # how many trials could run at once when they were planned
    search: dict[str, Any] | None = None  # None: not a search

    def with_settings(
        self, rows: Mapping[str, Mapping[str, Any]], seeds: Collection[int]
    ) -> Request:
        """Return the request with these setting rows, by setting_id, and seeds."""
        added = {
            setting_id: {k: value for k, value in row.items() if value is not None}
            for setting_id, row in rows.items()
        }
        union = {i: self.seeds.get(i, frozenset()) | set(seeds) for i in rows}
        return attrs.evolve(
            self, settings={**self.settings, **added}, seeds={**self.seeds, **union}
        )

    def with_stacks(
        self, setting_ids: Collection[str], names: Iterable[str], slots: int
    ) -> Request:
        """Return the request with new stacks, by name, for some of its settings."""
        rest = {s for s in self.stacks if parse_stack_name(s)[0] not in setting_ids}
        stacks = tuple(sorted(rest.union(names)))
        return attrs.evolve(self, stacks=stacks, slots=max(slots, self.slots))

    def stacks_to_resume(self, slots: int) -> list[tuple[str, tuple[int, ...]]]:
        """Return setting_id and seeds of the planned stacks.

        None are resumed when more trials can run at once than before: new, smaller
        stacks make use of that.
        """
        return [parse_stack_name(s) for s in self.stacks if slots <= self.slots]

    def to_bytes(self) -> bytes:
        """Serialise; equal requests give equal bytes."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "settings": [
                {"setting_id": i, "seeds": seeds_text(self.seeds[i]), "setting": row}
                for i, row in sorted(self.settings.items())
            ],
            "slots": self.slots,
            "stacks": list(self.stacks),
        }
        if self.search is not None:
            content["search"] = self.search
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, study: str) -> Request:
        """Read what `to_bytes` wrote, in this or an earlier version.

        `study` is the study's name where the content has none.

        Raises:
            ValueError: The content is corrupt.
            UsageError: A newer version of this program wrote it.
        """
        try:
            data = json.loads(content)
            if (version := int(data["schema_version"])) > SCHEMA_VERSION:
                raise UsageError(
                    f"{REQUEST_FILE} has schema version {version}, this program reads "
                    f"up to {SCHEMA_VERSION}: upgrade it"
                )
            entries = {str(e["setting_id"]): e for e in data["settings"]}
            search = data.get("search")
            seeds = {i: parse_seeds(e["seeds"]) for i, e in entries.items()}
            return cls(
                study=str(data.get("study", study)),
                settings={i: _parse_setting(e) for i, e in entries.items()},
                seeds={i: frozenset(s) for i, s in seeds.items()},
                stacks=tuple(map(str, data.get("stacks", ()))),
                slots=int(data.get("slots", 0)),
                search=None if search is None else dict(search),
            )
        except UsageError:
            raise
        except Exception as error:  # corrupt content can raise anything
            raise ValueError(f"corrupt: {error!r}") from error


def _parse_setting(entry: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(entry["setting"])
    if missing := [name for name in NEEDED if row.get(name) is None]:
        raise ValueError(f"setting {entry['setting_id']} has no {missing[0]}")
    return row
