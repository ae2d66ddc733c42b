"""Baselines: which settings another setting is compared with.

A baseline is one value of one part of the setting: an optimizer ("sgd"), a base
("adam", or "plain" for none) or a remedy ("redo", "weight_decay", or "none"). The
matched baseline of a setting has the same values as the setting in all other columns.
A hyperparameter that only one of the two methods has does not count: SGD, for example,
has no rho.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from analysis.records.runs import Runs, Setting
from trainables.hyperparameter import hyperparameters
from trainables.learners import LEARNERS
from trainables.networks import NETWORKS
from trainables.problems import PROBLEMS
from trainables.usage import choose

PARTS: dict[str, tuple[str, ...]] = {
    "optimizer": ("optimizer",),
    "base": ("base",),
    "remedy": ("intervention", "weight_decay"),
}
"""The parts of a setting whose values can be baselines, with their columns."""

WITHOUT = {"base": "plain", "remedy": "none"}
"""Maps a part to the name of the baseline whose settings lack this part."""

STREAM = (
    *("problem", "dataset", "examples", "input_low", "normalization"),
    *("tasks", "epochs", "batch_size", "hidden", "activation", "initialization"),
    *("network", "learner"),
    *dict.fromkeys(
        name
        for kind in (*PROBLEMS.values(), *NETWORKS.values(), *LEARNERS.values())
        for name in hyperparameters(kind)
    ),
)
"""The columns whose values must be equal in settings that compete: the stream, the
length of training and the network. A null in these columns is a value like any other.
The other columns, such as the learning rate, can be tuned."""

Key = tuple[Any, ...]
"""Values that settings of one group have in common."""


def part_of(setting: Setting, part: str) -> str | None:
    """Return the value of a part of a setting; None if the setting lacks the part.

    Weight decay is a remedy, although every optimizer has it as a hyperparameter.

    >>> part_of({"intervention": "redo", "weight_decay": 0.1}, "remedy")
    'redo+weight_decay'
    """
    if part != "remedy":
        value: str | None = setting.get(part)
        return value
    names = [setting.get("intervention")]
    names += ["weight_decay"] if setting.get("weight_decay") else []
    return "+".join(filter(None, names)) or None


def method_of(setting: Setting) -> tuple[str | None, ...]:
    """Return the method of a setting: its optimizer, base and remedy.

    On the same stream and network, two settings with the same method differ only in the
    values of hyperparameters.
    """
    return tuple(part_of(setting, part) for part in PARTS)


def stream_of(runs: Runs) -> Key:
    """Return the study and the values of `STREAM`, which competing settings share."""
    return (runs.study, *(runs.setting.get(name) for name in STREAM))


def method_key(runs: Runs) -> Key:
    """Return `stream_of` and `method_of`: what all settings of a method share."""
    return (*stream_of(runs), *method_of(runs.setting))


@attrs.frozen
class Baseline:
    """A baseline: the settings that have one value of one part."""

    part: str  # a key of PARTS
    value: str | None
    absent: Mapping[tuple[str, str | None], frozenset[str]]
    """Maps a study and a value of the part to the hyperparameters that settings with
    this value lack: the columns that are null in all these settings of the study."""

    @property
    def name(self) -> str:
        """The name that chooses the baseline on the command line."""
        return WITHOUT[self.part] if self.value is None else self.value

    def has(self, runs: Runs) -> bool:
        """Return whether a setting belongs to the baseline."""
        return part_of(runs.setting, self.part) == self.value

    def group(self, runs: Runs) -> Key:
        """Return the values that a setting must share with its baseline."""
        others = (part_of(runs.setting, part) for part in PARTS if part != self.part)
        return (*stream_of(runs), *others)

    def groups(self, settings: Iterable[Runs]) -> dict[Key, list[Runs]]:
        """Return the settings of the baseline by the value of `group`."""
        groups: dict[Key, list[Runs]] = defaultdict(list)
        for runs in settings:
            if self.has(runs):
                groups[self.group(runs)].append(runs)
        return groups

    def matches(self, settings: Sequence[Runs]) -> dict[tuple[str, str], Runs]:
        """Return a dict from the `Runs.key` of settings to their matched baselines.

        A setting that several settings of the baseline fit has no matched baseline.
        """
        groups, matches = self.groups(settings), {}
        # (value of the part, group) -> the baselines by the values that must be equal
        tables: dict[Key, dict[Key, list[Runs]]] = {}
        for runs in settings:
            if self.has(runs):
                continue
            value, group = part_of(runs.setting, self.part), self.group(runs)
            # A hyperparameter that one of the two methods lacks is ignored.
            ignored = self.absent[runs.study, value].union(
                self.absent.get((runs.study, self.value), ())
            )
            names = [n for n in runs.setting if n not in (*PARTS[self.part], *ignored)]
            if (value, *group) not in tables:
                table = tables.setdefault((value, *group), defaultdict(list))
                for other in groups.get(group, []):
                    table[tuple(other.setting[n] for n in names)].append(other)
            values = tuple(runs.setting[n] for n in names)
            candidates = tables[value, *group].get(values, [])
            if len(candidates) == 1:
                matches[runs.key] = candidates[0]
        return matches


def find_baseline(name: str, settings: Sequence[Runs]) -> Baseline:
    """Return the baseline with a name: an optimizer, base, remedy, "plain" or "none".

    Raises:
        UsageError: No setting belongs to this baseline.
    """
    known: dict[str, Baseline] = {}
    for part in PARTS:
        absent = _absent_columns(part, settings)
        for _, value in absent:
            baseline = Baseline(part, value, absent)
            known.setdefault(baseline.name, baseline)
    return known[choose("baseline", name, known)]


def _absent_columns(
    part: str, settings: Sequence[Runs]
) -> dict[tuple[str, str | None], frozenset[str]]:
    """Return `Baseline.absent` for the baselines of a part."""
    absent: dict[tuple[str, str | None], set[str]] = {}
    for runs in settings:
        nulls = {name for name, value in runs.setting.items() if value is None}
        key = runs.study, part_of(runs.setting, part)
        absent[key] = absent.get(key, nulls) & nulls
    return {key: frozenset(names) for key, names in absent.items()}
