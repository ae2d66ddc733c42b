"""Find the baseline setting that another setting is compared with.

A baseline is an optimizer (such as "sgd") or an intervention ("none" means no
intervention). A setting is compared with the baseline setting that is equal in
everything else. A hyperparameter that only one of the two settings has, such as rho,
is ignored.
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
"""The columns whose values can be the baseline, for example optimizer "sgd"."""

GROUP = ("problem", "dataset", "tasks", "epochs", "batch_size", "hidden")
"""The columns that must be equal in all settings among which the best is chosen.

They fix the tasks, the length of training and the network. The best setting is the best
choice of the other columns, such as the learning rate.
"""


@attrs.frozen
class Baseline:
    """A baseline: all settings with one value of one column, as optimizer "sgd".

    Attributes:
        column: One of `KINDS`.
        value: The value of the column; None means no intervention.
    """

    column: str
    value: str | None

    def has(self, runs: Runs) -> bool:
        """Return True if the setting of `runs` belongs to the baseline."""
        return bool(runs.setting[self.column] == self.value)

    def group(self, runs: Runs) -> tuple[Any, ...]:
        """Return the values that must be equal in a setting and its baseline."""
        others = (runs.setting[kind] for kind in KINDS if kind != self.column)
        return (*self.stream(runs), *others)

    def stream(self, runs: Runs) -> tuple[Any, ...]:
        """Return the values that must be equal in settings that compete as best."""
        return (runs.study, *(runs.setting[name] for name in GROUP))

    def groups(self, settings: Iterable[Runs]) -> dict[tuple[Any, ...], list[Runs]]:
        """Return the baseline settings, in a dict whose keys come from `group`."""
        groups: dict[tuple[Any, ...], list[Runs]] = defaultdict(list)
        for runs in settings:
            if self.has(runs):
                groups[self.group(runs)].append(runs)
        return groups

    def matches(self, runs: Runs, candidates: Sequence[Runs]) -> list[Runs]:
        """Return the candidates that differ from a setting only in the baseline column.

        A hyperparameter that only one of the two settings has is ignored.
        """
        return [other for other in candidates if self._equals(other, runs)]

    def _equals(self, other: Runs, runs: Runs) -> bool:
        # Compare the last columns first: they are hyperparameters, which differ most
        # often.
        return all(
            value is None or runs.setting[name] is None or value == runs.setting[name]
            for name, value in reversed(other.setting.items())
            if name != self.column
        )


def find_baseline(name: str, settings: Iterable[Runs]) -> Baseline:
    """Return the baseline with this name.

    Args:
        name: An optimizer, an intervention, or "none" for no intervention.
        settings: The runs of all settings.

    Raises:
        UsageError: No setting has this optimizer or intervention.
    """
    known: dict[str, Baseline] = {}
    for runs in settings:
        for kind in KINDS:
            value = runs.setting[kind]
            known[NONE if value is None else value] = Baseline(kind, value)
    return known[choose("baseline", name, known)]
