"""Run the best settings of a study again with new seeds, to compare them fairly.

The results on the study's seeds decide which setting of each method, SGD included, is
the best on each problem. The best of many settings is partly lucky (the winner's
curse). So the best settings then run with new seeds. Only the records of the new seeds
give a fair comparison.
"""

from __future__ import annotations

from collections.abc import Collection

from study.results.store import Store
from study.spec.studies import Study
from trainables.hyperparameter import check_whole
from trainables.problems import PROBLEMS
from trainables.randomness import SEEDS
from trainables.setting import Setting


def new_seeds(seeds: Collection[int], count: int) -> tuple[int, ...]:
    """Return `count` new seeds: the numbers after the largest seed in `seeds`.

    Raises:
        UsageError: The largest new seed would exceed the largest allowed seed.
    """
    first = max(seeds) + 1
    check_whole(
        "the largest new seed of --confirm-seeds", first + count - 1, first, SEEDS - 1
    )
    return tuple(range(first, first + count))


def confirmation(
    store: Store,
    *,
    seeds: Collection[int],
    count: int,
    setting_ids: Collection[str] | None = None,
) -> Study | None:
    """Return a study that runs the best settings with new seeds.

    `analysis.comparing.compare.best_settings` chooses the settings, by the measure of
    their problem (e.g. the test accuracy, or the return in control). If fewer than two
    methods have finished runs, return None.

    Args:
        store: The store of the study.
        seeds: The seeds of the study. Their records decide which settings are best.
        count: The number of new seeds.
        setting_ids: The settings to choose from, or None for all settings.

    Raises:
        UsageError: The records cannot be read, or a new seed would exceed the largest
            allowed seed.
        OSError: The storage fails.
    """
    from analysis.comparing.compare import best_settings
    from analysis.records.load import load
    from analysis.records.runs import NEEDED

    rows = {
        run.setting_id: run.setting
        for check in store.check_records()
        for run in check.runs.values()
    }
    measures = {PROBLEMS[str(row["problem"])].measure for row in rows.values()}
    frame = load(store.location(), [*NEEDED, *sorted(measures)])
    frame = frame[frame["seed"].isin(seeds)]
    if setting_ids is not None:
        frame = frame[frame["setting_id"].isin(setting_ids)]
    best = {name for names in best_settings(frame).values() for name in names}
    if not best:
        return None
    names = [name for name in frame["setting_id"].unique() if name in best]
    settings = tuple(Setting.from_row(rows[name]) for name in names)
    return Study(store.study, settings, new_seeds(seeds, count))
