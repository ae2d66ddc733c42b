"""The request of a study: the settings and seeds that its results must contain.

The request is saved in `study.json`, next to the records. It also has the stacks: a
stack is the seeds of a setting that are trained together. In another stack, the results
of a seed can differ by rounding errors. An interrupted study therefore resumes with the
same stacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from trainables.record import SCHEMA_VERSION
from trainables.setting import digest, without_nulls
from trainables.usage import UsageError

REQUEST_FILE = "study.json"
# the folder with the records of runs that a race stopped early
STOPPED = "stopped"
# the maximum number of seeds in a text: corrupt text must not fill the memory
MOST = 1_000_000
# columns for which every setting must have a value
NEEDED = ("problem", "dataset", "tasks", "optimizer", "lr")


def seeds_text(seeds: Iterable[int]) -> str:
    """Return distinct seeds as text: ranges of seeds, joined by '+'.

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
    """Return the seeds in a text that `seeds_text` returned, in ascending order.

    >>> parse_seeds("0-2+7")
    (0, 1, 2, 7)

    Raises:
        ValueError: `text` is not in the format of `seeds_text`, or it has more than
            `MOST` seeds.
    """
    seeds: list[int] = []
    for span in text.split("+"):
        first, _, last = span.partition("-")
        start, stop = int(first), int(last or first) + 1
        if len(seeds) + stop - start > MOST:
            raise ValueError(f"the text {text!r} has more than {MOST} seeds")
        seeds.extend(range(start, stop))
    if seeds_text(set(seeds)) != text:
        raise ValueError(f"the text {text!r} is not a valid list of seeds")
    return tuple(seeds)


def stack_name(setting_id: str, seeds: Iterable[int]) -> str:
    """Return the file name of a stack, without the suffix.

    >>> stack_name("f00d", [2, 0, 1, 7])
    'f00d-seeds-0-2+7'
    """
    return f"{setting_id}-seeds-{seeds_text(seeds)}"


def parse_stack_name(name: str) -> tuple[str, tuple[int, ...]]:
    """Return the setting_id and the seeds in the name of a stack.

    If `name` is not the name of a stack, return `name` and no seeds.

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


def joint_id(setting_ids: Iterable[str]) -> str:
    """Return the ID of a stack's settings, with which the name of the stack begins.

    It is the setting_id of one setting, or a hash of several that train together.

    >>> joint_id(["f00d"])
    'f00d'
    >>> joint_id(["f00d", "cafe"]) == joint_id(["cafe", "f00d"])
    True
    """
    first, *others = sorted(setting_ids)
    return digest({"joint": [first, *others]}) if others else first


@attrs.frozen(kw_only=True)
class Race:
    """The progress of a race (`--refine`), which stops worse settings early."""

    settings: tuple[str, ...] = ()  # the setting_ids of the study
    seeds: tuple[int, ...] = ()  # the seeds that choose the best settings
    stage: int = 0  # the number of ended stages
    stopped: Mapping[str, str] = attrs.field(factory=dict)  # setting_id -> why
    # the rows of the settings that the race added to the study, by setting_id
    added: Mapping[str, dict[str, Any]] = attrs.field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the race as plain values for JSON."""
        return {**attrs.asdict(self), "seeds": seeds_text(self.seeds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Race:
        """Return the race that `to_dict` returned as plain values."""
        return cls(
            settings=tuple(map(str, data["settings"])),
            seeds=parse_seeds(data["seeds"]) if data["seeds"] else (),
            stage=int(data["stage"]),
            stopped={str(name): str(why) for name, why in data["stopped"].items()},
            added={str(name): dict(row) for name, row in data["added"].items()},
        )


@attrs.frozen(kw_only=True)
class Request:
    """All settings and seeds that were ever requested for a study.

    The keys of `settings` and `seeds` are setting_ids. A setting is a row of values
    without nulls. Settings that a race has stopped are no longer requested. If the
    study is a search, `search` has the search space, the seeds, the objectives and the
    number of trials, and the search's journal has the settings.
    """

    study: str  # the study's name
    settings: Mapping[str, dict[str, Any]] = attrs.field(factory=dict)
    seeds: Mapping[str, frozenset[int]] = attrs.field(factory=dict)
    stacks: tuple[str, ...] = ()  # names of the planned groups of seeds
    # the setting_ids of each group of settings that train together, by `joint_id`
    joint: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    slots: int = 0  # number of parallel trials when the stacks were planned
    search: dict[str, Any] | None = None  # None if the study is not a search
    confirming: frozenset[int] = frozenset()  # seeds that were run by --confirm-seeds
    race: Race | None = None  # None without --refine
    claim: str = ""  # `Claim.stamp` of the sweep that wrote the file, if any

    def with_settings(
        self,
        rows: Mapping[str, Mapping[str, Any]],
        seeds: Collection[int],
        *,
        confirming: bool = False,
    ) -> Request:
        """Return the request with more settings and seeds.

        The keys of `rows` are setting_ids. Each of these settings gets all `seeds`, and
        keeps the seeds that it already has. If `confirming` is true, the seeds join the
        confirming seeds, which only confirm the best settings. Otherwise, the seeds
        leave the confirming seeds, because the study itself requests them. If a race
        has stopped one of the settings, the setting counts as not stopped, and a later
        race starts from its first stage.
        """
        added = {setting_id: without_nulls(row) for setting_id, row in rows.items()}
        union = {i: self.seeds.get(i, frozenset()) | set(seeds) for i in rows}
        change = self.confirming.union if confirming else self.confirming.difference
        race = self.race
        if race is not None and not race.stopped.keys().isdisjoint(rows):
            race = Race(
                stopped={i: why for i, why in race.stopped.items() if i not in rows}
            )
        return attrs.evolve(
            self,
            settings={**self.settings, **added},
            seeds={**self.seeds, **union},
            confirming=change(seeds),
            race=race,
        )

    def without(self, stopped: Mapping[str, str], race: Race) -> Request:
        """Return the request of a race after a stage that has stopped some settings.

        `stopped` has the reason for each stopped setting, by setting_id. `race` is the
        race after the stage, without these reasons.
        """
        settings = {i: row for i, row in self.settings.items() if i not in stopped}
        return attrs.evolve(
            self,
            settings=settings,
            seeds={i: self.seeds[i] for i in settings},
            race=attrs.evolve(race, stopped={**race.stopped, **stopped}),
        )

    def with_stacks(
        self,
        setting_ids: Collection[str],
        names: Iterable[str],
        slots: int,
        joint: Iterable[Iterable[str]] = (),
    ) -> Request:
        """Return the request with new planned stacks for some of its settings.

        The stacks `names` replace all earlier stacks of the settings in `setting_ids`.
        `slots` is the number of trials that can run at once. `joint` has the
        setting_ids of each group of settings that train together.
        """
        replaced = set(setting_ids)
        others = {
            name
            for name in self.stacks
            if replaced.isdisjoint(self.settings_of(parse_stack_name(name)[0]))
        }
        new = [tuple(setting_ids) for setting_ids in joint]
        return attrs.evolve(
            self,
            stacks=tuple(sorted(others.union(names))),
            # keep the earlier groups, because they can have checkpoints
            joint={**self.joint, **{joint_id(own): own for own in new}},
            slots=max(slots, self.slots),
        )

    def settings_of(self, stack_id: str) -> tuple[str, ...]:
        """Return the setting_ids of a stack, whose name begins with `stack_id`."""
        return self.joint.get(stack_id, (stack_id,))

    def stacks_to_resume(self, slots: int) -> list[tuple[str, tuple[int, ...]]]:
        """Return the setting_id or `joint_id`, and the seeds, of each planned stack.

        `slots` is the number of trials that can run at once. If it has grown since the
        stacks were planned, return none, so that smaller stacks use all slots.
        """
        return [parse_stack_name(s) for s in self.stacks if slots <= self.slots]

    def to_bytes(self) -> bytes:
        """Serialize the request to JSON. Equal requests give equal bytes."""
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
        if self.joint:
            content["joint"] = {key: list(ids) for key, ids in self.joint.items()}
        if self.confirming:
            content["confirming"] = seeds_text(self.confirming)
        if self.search is not None:
            content["search"] = self.search
        if self.race is not None:
            content["race"] = self.race.to_dict()
        if self.claim:
            content["claim"] = self.claim
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, study: str) -> Request:
        """Return the request that `to_bytes` of this or an earlier version wrote.

        If the content does not contain the study's name, the name is `study`.

        Raises:
            ValueError: The content is corrupt.
            UsageError: A newer version of this program wrote the content.
        """
        try:
            data = json.loads(content)
            if (version := int(data["schema_version"])) > SCHEMA_VERSION:
                raise UsageError(
                    f"{REQUEST_FILE} has schema version {version}, but this program "
                    f"reads only versions up to {SCHEMA_VERSION}: upgrade the program"
                )
            entries = {str(e["setting_id"]): e for e in data["settings"]}
            search, text = data.get("search"), data.get("confirming")
            race = data.get("race")
            return cls(
                study=str(data.get("study", study)),
                settings={i: _parse_setting(e) for i, e in entries.items()},
                seeds={
                    i: frozenset(parse_seeds(e["seeds"])) for i, e in entries.items()
                },
                stacks=tuple(map(str, data.get("stacks", ()))),
                joint={
                    str(key): tuple(map(str, ids))
                    for key, ids in data.get("joint", {}).items()
                },
                slots=int(data.get("slots", 0)),
                search=None if search is None else dict(search),
                confirming=frozenset(parse_seeds(text) if text else ()),
                race=None if race is None else Race.from_dict(race),
                claim=str(data.get("claim", "")),
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
