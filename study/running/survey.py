"""Find the progress of each setting of a study, and estimate the time left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import attrs

from study.plan.cost import run_cost
from study.plan.machine import format_duration, load_rates
from study.results.file_check import StoredRun
from study.results.store import Store
from trainables.request import Request, parse_stack_name, stack_name
from trainables.setting import Row, Setting, digest
from trainables.usage import UsageError

ORDER = ("problem", "dataset", "tasks", "optimizer", "lr", "rho", "alpha", "momentum")
"""Columns by which settings are sorted."""


@attrs.define
class SettingProgress:
    """The progress of the runs of one setting.

    Attributes:
        seeds: All seeds that were requested.
        finished: The seeds that have all their records, including diverged seeds.
        diverged: The seeds whose runs have diverged.
        started: The completed tasks of each unfinished seed that has a checkpoint.
        failed: The error of each seed that failed in the last sweep.
    """

    row: Row
    seeds: frozenset[int]
    finished: set[int] = attrs.field(factory=set)
    diverged: set[int] = attrs.field(factory=set)
    started: dict[int, int] = attrs.field(factory=dict)
    failed: dict[int, str] = attrs.field(factory=dict)

    @property
    def missing(self) -> frozenset[int]:
        """The seeds that are not finished, started or failed."""
        return self.seeds - self.finished - self.started.keys() - self.failed.keys()


def survey(
    store: Store, request: Request, runs: Mapping[str, StoredRun]
) -> list[SettingProgress]:
    """Return the progress of each setting; `runs` has the finished runs by run_id.

    Raises:
        OSError: The storage fails.
    """
    settings = {
        setting_id: SettingProgress(row, request.seeds[setting_id])
        for setting_id, row in request.settings.items()
    }
    for (
        run
    ) in runs.values():  # the request may be lost: add the settings of the records
        row = {name: v for name, v in run.setting.items() if v is not None}
        new = SettingProgress(row, frozenset())
        progress = settings.setdefault(run.setting_id, new)
        progress.seeds |= {run.seed}
        progress.finished.add(run.seed)
        if run.diverged:
            progress.diverged.add(run.seed)
    for setting_id, seeds in store.interrupted_stacks():
        started = settings.get(setting_id)
        if started and started.finished.isdisjoint(seeds):
            tasks = _checkpoint_tasks(store, stack_name(setting_id, seeds))
            started.started |= dict.fromkeys(seeds, tasks)
    for name, reason in store.load_failures().items():
        setting_id, seeds = parse_stack_name(name)
        if failed := settings.get(setting_id):
            for seed in set(seeds) - failed.finished:
                failed.failed[seed] = reason
                failed.started.pop(seed, None)
    return sorted(
        settings.values(), key=lambda p: [str(p.row.get(name)) for name in ORDER]
    )


def _checkpoint_tasks(store: Store, name: str) -> int:
    """Return the completed tasks in a checkpoint, or 0 if it cannot be read."""
    from trainables.checkpoint import read

    try:
        return int(read(store.load_state(name) or b"")["run"]["task"])
    except Exception:  # corrupt input can raise anything
        return 0


def time_left(
    settings: Sequence[SettingProgress], runs: Mapping[str, StoredRun], slots: int
) -> str:
    """Return a line with the time left if `slots` trials run at once."""
    known: dict[str, Setting] = {}
    flops_left: defaultdict[str, float] = defaultdict(float)  # by optimizer
    for progress in settings:
        try:
            setting = Setting.from_row(progress.row)
        except UsageError:  # another version of this program made the setting
            continue
        known[digest(progress.row)] = setting
        for seed in progress.seeds - progress.finished:
            fraction = 1 - progress.started.get(seed, 0) / setting.tasks
            flops_left[setting.optimizer.name] += run_cost(setting).flops * fraction
    if not flops_left:
        return "nothing is left"
    flops: defaultdict[str, float] = defaultdict(float)  # of finished runs
    seconds: defaultdict[str, float] = defaultdict(float)  # also by optimizer
    for run in runs.values():
        if run.setting_id in known and run.seconds > 0 and not run.diverged:
            setting = known[run.setting_id]
            flops[setting.optimizer.name] += run_cost(setting).flops
            seconds[setting.optimizer.name] += run.seconds
    rates = load_rates() | {name: flops[name] / seconds[name] for name in flops}
    if not flops_left.keys() <= rates.keys():
        return "time left: unknown; run python -m study.benchmark to measure the speed"
    total = sum(flops_left[name] / rates[name] for name in flops_left)
    duration = format_duration(total / slots)
    return f"time left: about {duration} with {slots} trials at once"
