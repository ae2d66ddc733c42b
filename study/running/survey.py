"""Find the progress of each setting of a study, and estimate the remaining time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import attrs

from study.plan.cost import run_cost
from study.plan.machine import benchmark_command, load_rates, rate_name
from study.results.file_check import StoredRun
from study.results.store import Store
from trainables.request import Request, parse_stack_name, stack_name
from trainables.setting import Row, Setting, digest
from trainables.usage import UsageError, format_duration

ORDER = ("problem", "dataset", "tasks", "optimizer", "lr", "rho", "alpha", "momentum")
"""The columns by which the settings are sorted."""


@attrs.define
class SettingProgress:
    """The progress of the runs of one setting."""

    row: Row  # the hyperparameters of the setting
    seeds: frozenset[int]  # all requested seeds
    finished: set[int] = attrs.field(factory=set)  # seeds with all their records
    diverged: set[int] = attrs.field(factory=set)  # finished seeds whose runs diverged
    # unfinished seeds that have a checkpoint -> the number of completed tasks
    started: dict[int, int] = attrs.field(factory=dict)
    # seeds that failed in the last sweep -> the error
    failed: dict[int, str] = attrs.field(factory=dict)

    @property
    def missing(self) -> frozenset[int]:
        """The seeds that have no records, no checkpoint and no error."""
        return self.seeds - self.finished - self.started.keys() - self.failed.keys()


def survey(
    store: Store, request: Request, runs: Mapping[str, StoredRun]
) -> list[SettingProgress]:
    """Return the progress of each setting of a study.

    `request` has the requested settings and seeds, and `runs` has the finished runs, by
    run_id. If the storage fails, raise OSError.
    """
    settings = {
        setting_id: SettingProgress(row, request.seeds[setting_id])
        for setting_id, row in request.settings.items()
    }
    # the file of the request can be lost, so also add the settings of finished runs
    for run in runs.values():
        new = SettingProgress(run.setting, frozenset())
        progress = settings.setdefault(run.setting_id, new)
        progress.finished.add(run.seed)
        if run.diverged:
            progress.diverged.add(run.seed)
    for progress in settings.values():
        progress.seeds |= progress.finished
    for stack_id, seeds in store.interrupted_stacks():
        stacked = [settings.get(own) for own in request.settings_of(stack_id)]
        unfinished = [s for s in stacked if s and s.finished.isdisjoint(seeds)]
        if unfinished:
            tasks = _checkpoint_tasks(store, stack_name(stack_id, seeds))
            for started in unfinished:
                started.started |= dict.fromkeys(seeds, tasks)
    for name, reason in store.load_failures().items():
        stack_id, seeds = parse_stack_name(name)
        for setting_id in request.settings_of(stack_id):
            if failed := settings.get(setting_id):
                for seed in set(seeds) - failed.finished:
                    failed.failed[seed] = reason
                    failed.started.pop(seed, None)
    return sorted(
        settings.values(), key=lambda p: [str(p.row.get(name)) for name in ORDER]
    )


def _checkpoint_tasks(store: Store, name: str) -> int:
    """Return the number of completed tasks in a checkpoint, or 0 if it is damaged."""
    from trainables.checkpoint import read

    try:
        return int(read(store.load_state(name) or b"")["run"]["task"])
    except Exception:  # corrupt input can raise anything
        return 0


def time_left(
    settings: Sequence[SettingProgress], runs: Mapping[str, StoredRun], slots: int
) -> str:
    """Return a line that estimates the time until all runs are finished.

    The speed of each optimizer comes from the finished runs, which `runs` has by
    run_id. If an optimizer has no finished run, its speed comes from the benchmark.
    `slots` is the number of trials that run at the same time.
    """
    settings_by_id: dict[str, Setting] = {}
    # the work of unfinished runs, by `rate_name`
    work_left: defaultdict[str, float] = defaultdict(float)
    for progress in settings:
        try:
            setting = Setting.from_row(progress.row)
        except UsageError:  # another version of this program made the setting
            continue
        settings_by_id[digest(progress.row)] = setting
        for seed in progress.seeds - progress.finished:
            fraction = 1 - progress.started.get(seed, 0) / setting.tasks
            work_left[rate_name(setting)] += run_cost(setting).work * fraction
    if not work_left:
        return "nothing is left to run"
    # the work and the seconds of finished runs, by `rate_name`
    work: defaultdict[str, float] = defaultdict(float)
    seconds: defaultdict[str, float] = defaultdict(float)
    for run in runs.values():
        if run.setting_id in settings_by_id and run.seconds > 0 and not run.diverged:
            setting = settings_by_id[run.setting_id]
            name = rate_name(setting)
            work[name] += run_cost(setting).work
            seconds[name] += run.seconds
    rates = load_rates() | {name: work[name] / seconds[name] for name in work}
    if unknown := work_left.keys() - rates.keys():
        return (
            f"time left: unknown. Run {benchmark_command(unknown)} to measure the "
            "speed of this machine"
        )
    total = sum(work_left[name] / rates[name] for name in work_left)
    duration = format_duration(total / slots)
    return f"time left: about {duration} with {slots} trials at once"
