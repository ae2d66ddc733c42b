"""Baselines: which setting another is compared with.

A baseline is an optimizer ("sgd") or an intervention ("none": without any). The setting
that stands against another is the one with everything else equal; a hyperparameter that
one of the two lacks, as SGD a rho, does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.runs import Runs
from trainables.usage import choose

NONE = "none"
"""The baseline that has no intervention."""

KINDS = ("optimizer", "intervention")

GROUP = ("problem", "dataset", "tasks", "epochs", "batch_size", "hidden")
"""What settings must share for one to be the best of them: the stream, how long it is
trained on and by what network. The rest, as the learning rate, is for choosing."""


@dataclass(frozen=True)
class Baseline:
    """The settings that others are compared with: one value of one of `KINDS`."""

    column: str
    value: str | None

    def has(self, runs: Runs) -> bool:
        """Whether a setting is one of the baseline's."""
        return bool(runs.setting[self.column] == self.value)

    def group(self, runs: Runs) -> tuple[Any, ...]:
        """Return what a setting shares with those that it can be compared with."""
        others = (runs.setting[kind] for kind in KINDS if kind != self.column)
        return (*self.stream(runs), *others)

    def stream(self, runs: Runs) -> tuple[Any, ...]:
        """Return what a setting shares with those that it is the best of."""
        return (runs.study, *(runs.setting[name] for name in GROUP))

    def groups(self, found: Iterable[Runs]) -> dict[tuple[Any, ...], list[Runs]]:
        """Return the baseline's settings by their group."""
        groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
        for runs in found:
            if self.has(runs):
                groups[self.group(runs)].append(runs)
        return groups

    def matches(self, runs: Runs, among: Sequence[Runs]) -> list[Runs]:
        """Return those of a group that differ from a setting in the baseline only."""
        # from the back, where hyperparameters are: of thousands few are the same
        return [
            one
            for one in among
            if all(
                value is None
                or runs.setting[name] is None
                or value == runs.setting[name]
                for name, value in reversed(one.setting.items())
                if name != self.column
            )
        ]


def find_baseline(name: str, found: Iterable[Runs]) -> Baseline:
    """Return the baseline of a name: an optimizer, an intervention or "none".

    Raises:
        UsageError: No setting has it.
    """
    known: dict[str, Baseline] = {}
    for runs in found:
        for kind in KINDS:
            value = runs.setting[kind]
            known[NONE if value is None else value] = Baseline(kind, value)
    return known[choose("baseline", name, known)]
