"""Baselines: which setting another is compared with.

A baseline is an optimizer ("sgd") or an intervention ("none": without any). A setting
is compared with the one that equals it in everything else; a hyperparameter that one of
the two lacks, as SGD lacks rho, does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from analysis.records.runs import Runs
from trainables.usage import choose

NONE = "none"
"""The name of the baseline without an intervention."""

KINDS = ("optimizer", "intervention")
"""The columns that a baseline can be a value of."""

GROUP = ("problem", "dataset", "tasks", "epochs", "batch_size", "hidden")
"""The columns that settings must share for one to be the best of them: the stream, the
length of training and the network. The others, as the learning rate, can be chosen."""


@attrs.frozen
class Baseline:
    """The settings with one value of one of `KINDS`."""

    column: str
    value: str | None

    def has(self, runs: Runs) -> bool:
        """Return whether a setting belongs to the baseline."""
        return bool(runs.setting[self.column] == self.value)

    def group(self, runs: Runs) -> tuple[Any, ...]:
        """Return the values that a setting shares with those to compare it with."""
        others = (runs.setting[kind] for kind in KINDS if kind != self.column)
        return (*self.stream(runs), *others)

    def stream(self, runs: Runs) -> tuple[Any, ...]:
        """Return the values shared by all settings that compete to be the best."""
        return (runs.study, *(runs.setting[name] for name in GROUP))

    def groups(self, settings: Iterable[Runs]) -> dict[tuple[Any, ...], list[Runs]]:
        """Return the baseline's settings by their group."""
        groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
        for runs in settings:
            if self.has(runs):
                groups[self.group(runs)].append(runs)
        return groups

    def matches(self, runs: Runs, candidates: Sequence[Runs]) -> list[Runs]:
        """Return the candidates that differ from a setting in the baseline only."""
        return [other for other in candidates if self._equals(other, runs)]

    def _equals(self, other: Runs, runs: Runs) -> bool:
        # In reverse, because hyperparameters, which differ most often, come last.
        return all(
            value is None or runs.setting[name] is None or value == runs.setting[name]
            for name, value in reversed(other.setting.items())
            if name != self.column
        )


def find_baseline(name: str, settings: Iterable[Runs]) -> Baseline:
    """Return the baseline of a name: an optimizer, an intervention or "none".

    Raises:
        UsageError: No setting has it.
    """
    known: dict[str, Baseline] = {}
    for runs in settings:
        for kind in KINDS:
            value = runs.setting[kind]
            known[NONE if value is None else value] = Baseline(kind, value)
    return known[choose("baseline", name, known)]
