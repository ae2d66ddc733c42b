"""Run a race: train stage after stage, and stop settings after each stage.

The module `study.racing.rule` says what a race is, and which settings stop.

The state of the race is in `study.json` (`trainables.request.Race`), which is replaced
once after each stage. So a race that was killed continues with the stage that it was
in, and makes the same decisions.

When the race has ended, a second race begins. It has the best setting of each method,
and new settings `around` it, which differ only in rho.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

import trainables.data
from analysis.comparing.baselines import STREAM, method_of
from analysis.records.load import load
from study.console import say
from study.plan.trials import Trial, setting_cells
from study.racing.rule import Reals, Stage, judge, stages
from study.results.files import retry
from study.results.store import Store
from study.running.confirm import new_seeds
from study.running.session import StudySession
from study.spec.options import SweepOptions
from study.spec.studies import Study
from trainables.request import Race, stack_name
from trainables.setting import Setting, without_nulls
from trainables.usage import UsageError


class StageSession(StudySession):
    """A session that trains some settings and seeds up to a task, then pauses."""

    can_join = False  # because each setting stops on its own

    def __init__(
        self, options: SweepOptions, study: Study, store: Store, stage: Stage
    ) -> None:
        """Read the results of earlier sessions."""
        super().__init__(options, study, store)
        self._split_joint(None)
        self.stage = stage
        self._paused: set[str] = set()  # run_ids that have trained the stage's tasks

    @functools.cached_property
    def _tasks(self) -> dict[str, int]:
        runs = itertools.product(self.study.settings, self.study.seeds)
        return {s.run_id(seed): self.stage.tasks(s.tasks) for s, seed in runs}

    @property
    def ended(self) -> set[str]:
        """The run_ids of the runs that have trained all tasks of the stage."""
        settings = {setting.setting_id: setting for setting in self.study.settings}
        if self.stage.share < 1:
            for setting_id, seeds in retry(self.store.interrupted_stacks):
                setting = settings.get(setting_id)
                if setting is None or self._paused >= {*map(setting.run_id, seeds)}:
                    continue
                name = stack_name(setting_id, seeds)
                records = retry(functools.partial(self.store.checkpoint_records, name))
                if len(records) >= len(seeds) * self.stage.tasks(setting.tasks):
                    self._paused.update(map(setting.run_id, seeds))
        return self.finished | self._paused

    def plan(self, slots: int, gpu_memory: float | None = None) -> list[Trial]:
        """Return the trials that train the runs up to the stage's last task."""
        return [
            attrs.evolve(trial, until=self.stage.tasks(trial.setting.tasks))
            for trial in super().plan(slots, gpu_memory)
        ]

    def _headline(self, tally: Any) -> str:
        share = self.stage.share
        tasks = "all tasks" if share == 1 else f"{100 * share:g}% of the tasks"
        return f"{super()._headline(tally)}: {len(self.study.seeds)} seeds, {tasks}"


class RaceSession:
    """Runs the stages of a race that are left, in one call of the sweep command.

    Attributes:
        seeds: The seeds that choose the winners. They are twice as many as the study
            has, but only the few settings that are left after most stages need all.
    """

    def __init__(self, options: SweepOptions, study: Study, store: Store) -> None:
        """Read which stage the race has reached.

        Raises:
            UsageError: The results already have a race with other seeds or other
                settings, and that race has finished at least one stage.
        """
        self.options, self.study, self.store = options, study, store
        self.seeds = (*study.seeds, *new_seeds(study.seeds, len(study.seeds)))
        self.stages = 2 * stages(self.seeds)  # for the first race and for the second
        race = retry(store.load_request).race or Race()
        settings = tuple(sorted(study.rows()))
        if race.stage and (race.settings, race.seeds) != (settings, self.seeds):
            raise UsageError(
                f"{store.location()} has a race with other seeds or other settings: "
                "use the same options as before, or choose another folder with "
                "--results"
            )
        self.race = attrs.evolve(race, settings=settings, seeds=self.seeds)

    @property
    def settings(self) -> list[Setting]:
        """The settings that have not stopped."""
        added = map(Setting.from_row, self.race.added.values())
        settings, stopped = (*self.study.settings, *added), self.race.stopped
        return [setting for setting in settings if setting.setting_id not in stopped]

    def run(self) -> int:
        """Run the stages that are left, then the winners with all seeds.

        Return the exit code of the command.

        Raises:
            UsageError: The cluster cannot run the trials.
            OSError: The storage fails.
        """
        self._drop_stopped()
        with contextlib.ExitStack() as context:
            if self.race.stage < len(self.stages):
                # wrong data must fail before Ray starts
                for name in {setting.dataset for setting in self.study.settings}:
                    trainables.data.load(name, self.options.data_dir)
                from study.running import connection

                ray = connection.connected(self.options.address, self.store.study)
                context.enter_context(ray)
            while self.race.stage < len(self.stages):
                if code := self._run_stage(self.race.stage):
                    return code
            winners = attrs.evolve(self.study, settings=self.settings, seeds=self.seeds)
            return StudySession(self.options, winners, self.store).run()

    def _run_stage(self, number: int) -> int:
        """Run a stage, stop the settings that lost, and return the exit code."""
        stage, half = self.stages[number], len(self.stages) // 2
        is_last = (number + 1) % half == 0
        before = self.stages[number - 1] if number % half else None

        def has_news(tasks: int) -> bool:
            # a short stream can have as many tasks in this stage as in the one before
            known = before and (before.seeds, before.tasks(tasks))
            return is_last or known != (stage.seeds, stage.tasks(tasks))

        races = [
            race
            for race in by_method(self.settings)
            if len(race) > 1 and has_news(race[0].tasks)
        ]
        racing = [setting for race in races for setting in race]
        stopped: dict[str, str] = {}
        if racing:
            study = attrs.evolve(self.study, settings=racing, seeds=stage.seeds)
            session = StageSession(self.options, study, self.store, stage)
            if session.left and (code := session.run()):
                return code
            stopped = self._judge(races, stage, only_best=is_last)
            for setting_id, seeds in retry(self.store.interrupted_stacks):
                if setting_id in stopped:
                    name = stack_name(setting_id, seeds)
                    retry(functools.partial(self.store.write_stopped, name))
        self._save(number + 1, stopped)
        if racing:
            say(
                f"Stage {number + 1} of {len(self.stages)} has ended: "
                f"{len(racing) - len(stopped)} of {len(racing)} settings go on"
            )
        return 0

    def _judge(
        self, races: Sequence[Sequence[Setting]], stage: Stage, *, only_best: bool
    ) -> dict[str, str]:
        """Return why settings stop after a stage, by the setting_id of each of them."""
        measured = self._values()
        stopped: dict[str, str] = {}
        for race in races:
            values: list[Reals | None] = []
            for setting in race:
                own, done = measured[setting.setting_id], stage.tasks(setting.tasks)
                matrix = np.stack([own[seed][:done] for seed in stage.seeds])
                values.append(None if np.isnan(matrix).any() else matrix)
            reasons = judge(
                values,
                race[0].tasks,
                measure=race[0].problem.measure,
                only_best=only_best,
            )
            for setting, reason in zip(race, reasons, strict=True):
                if reason:
                    text = " ".join(setting_cells(setting.row())[:3])
                    stopped[setting.setting_id] = f"{text}: {reason}"
        return stopped

    def _values(self) -> dict[str, dict[int, Reals]]:
        """Return the problem's measure of each run, by setting_id and seed.

        An array has a number for each task: NaN if the task is not trained yet, or if
        the run has diverged.
        """
        settings = {setting.setting_id: setting for setting in self.settings}
        rows: list[dict[Any, Any]] = []
        for setting_id, seeds in retry(self.store.interrupted_stacks):
            if setting_id in settings:
                rows += self.store.checkpoint_records(stack_name(setting_id, seeds))
        if self.store.finished_runs():
            measures = sorted({s.problem.measure for s in settings.values()})
            columns = ["setting_id", "seed", "task", *measures]
            frame = load(self.store.location(), columns, with_stopped=True)
            rows += frame[columns].to_dict("records")
        values: dict[str, dict[int, Reals]] = defaultdict(dict)
        for row in rows:
            if setting := settings.get(row["setting_id"]):
                own = values[row["setting_id"]].setdefault(
                    row["seed"], np.full(setting.tasks, np.nan)
                )
                own[row["task"]] = row[setting.problem.measure]  # None is NaN
        return values

    def _save(self, stage: int, stopped: dict[str, str]) -> None:
        """Save that a stage has ended and which settings stopped."""
        race = attrs.evolve(self.race, stage=stage)
        if stage == len(self.stages) // 2:
            known = {setting.setting_id for setting in self.study.settings}
            left = [s for s in self.settings if s.setting_id not in stopped]
            added = {
                setting.setting_id: without_nulls(setting.row())
                for winner in left
                for setting in around(winner, self.study.settings)
                if setting.setting_id not in known
            }
            race = attrs.evolve(race, added=added)
        request = retry(self.store.load_request).without(stopped, race)
        assert request.race is not None
        self.race = request.race
        retry(lambda: self.store.save_request(request))
        self._drop_stopped()

    def _drop_stopped(self) -> None:
        """Delete the checkpoints of settings that have stopped."""
        # if the storage fails, the next session deletes these checkpoints
        with contextlib.suppress(OSError):
            for setting_id, seeds in self.store.interrupted_stacks():
                if setting_id in self.race.stopped:
                    self.store.drop_state(stack_name(setting_id, seeds))


def by_method(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Return the settings of each race: those of one method on one stream."""
    races: dict[tuple[Any, ...], list[Setting]] = defaultdict(list)
    for setting in settings:
        row = setting.row()
        stream = tuple(row[name] for name in STREAM)
        races[stream + method_of(row)].append(setting)
    return list(races.values())


def around(winner: Setting, settings: Sequence[Setting]) -> list[Setting]:
    """Return new settings that differ from the winner only in rho.

    On a log scale, a new rho lies halfway between the winner's rho and a neighboring
    rho among `settings`. If the winner has the largest rho, there is one more new rho,
    as far above it as the neighbor is below it. New values are rounded to two digits.
    """
    row, best = winner.row(), winner.optimizer.rho
    if not best:
        return []
    rows = (setting.row() for setting in settings)
    rhos = sorted(
        other["rho"] for other in rows if other["rho"] and other | {"rho": best} == row
    )
    i = rhos.index(best)
    neighbors = [*rhos[max(0, i - 1) : i], *rhos[i + 1 : i + 2]]
    new = [math.sqrt(best * rho) for rho in neighbors]
    if i and best == rhos[-1]:
        new.append(best * best / rhos[i - 1])
    return [Setting.from_row(row | {"rho": float(f"{rho:.2g}")}) for rho in new]
