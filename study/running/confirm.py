"""Confirming what a study found, on seeds that had no say in finding it.

The best of many settings owes some of its lead to luck (the winner's curse). So the
best setting of each problem and the best SGD, chosen on the study's own seeds, are run
with new ones, on which alone the comparison of the two is fair.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from study.results.store import Store
from study.spec.studies import Study
from trainables.checks import whole
from trainables.randomness import SEEDS
from trainables.record import WHAT
from trainables.setting import Setting


def new_seeds(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return so many seeds above those of a study.

    >>> new_seeds((0, 1, 4), 2)
    (5, 6)

    Raises:
        UsageError: There are no such seeds.
    """
    first = max(seeds) + 1
    whole("the last of --confirm-seeds", first + count - 1, first, SEEDS - 1)
    return tuple(range(first, first + count))


def confirmation(
    store: Store,
    seeds: tuple[int, ...],
    count: int,
    setting_ids: frozenset[str] | None = None,
) -> Study | None:
    """Return the best settings with new seeds; None: there is nothing to choose from.

    Args:
        store: Where the study's records are.
        seeds: The study's own, which choose.
        count: How many new ones.
        setting_ids: The study's own; None: all that lie there.

    Raises:
        UsageError: The records cannot be read, or there are no seeds above.
    """
    from analysis.comparing.compare import best_settings
    from analysis.records.load import load
    from analysis.records.runs import NEEDED

    frame = load(store.location(), [*NEEDED, "test_accuracy"])
    frame = frame[frame["seed"].isin(seeds)]
    if setting_ids is not None:
        frame = frame[frame["setting_id"].isin(setting_ids)]
    chosen = {name for best in best_settings(frame).values() for name in best}
    rows = frame.drop_duplicates("setting_id")[["setting_id", *WHAT]].astype(object)
    settings = [
        Setting.from_row({name: _plain(name, row[name]) for name in WHAT})
        for row in rows.where(rows.notna(), None).to_dict("records")
        if row["setting_id"] in chosen
    ]
    if not settings:
        return None
    return Study(store.study, tuple(settings), new_seeds(seeds, count))


def _plain(name: str, value: Any) -> Any:
    """Return a value as the record had it: nulls make a frame's whole numbers real."""
    integral = value is not None and WHAT[name].type == pa.int64()
    return int(value) if integral else value
