"""One session of a study: plan and run its unfinished runs, and print the result."""

from __future__ import annotations

import abc
import contextlib
import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from study.console import say
from study.plan.trials import Trial, plan
from study.results.compaction import background_compaction
from study.results.files import retry
from study.results.store import Store
from study.spec.options import SweepOptions
from study.spec.search import Search
from study.spec.studies import Study
from trainables.data import load
from trainables.request import Request, stack_name
from trainables.setting import common_setting, digest

if TYPE_CHECKING:
    from study.running.progress import Tally
    from study.running.shares import Shares
    from study.running.tuning import TrialSource

# The most trials that share a GPU by default, if several settings can train together.
# One trial uses the GPU while the other prepares its batches on the CPU. With more
# trials, each would train fewer networks together.
TRIALS_PER_GPU = 2

FAILED = 1  # the exit code of a sweep if runs have failed or have no records
STOPPED = 130  # the exit code after an interruption, as shells have it after Ctrl-C


class Session(abc.ABC):
    """A session runs the unfinished runs of a study, or the trials of a search.

    Before a session writes results, this process must claim the results
    (`study.results.claim.claim`). Every method raises OSError if the storage fails.

    Attributes:
        request: All settings and seeds that sessions have requested so far. They are
            saved with the results.
        finished: The run_ids of the runs that have all their records.
    """

    unit: str  # "runs" or "trials", for messages
    study: Study | Search

    def __init__(
        self,
        options: SweepOptions,
        study: Study | Search,
        store: Store,
        *,
        read_only: bool = False,
    ) -> None:
        """Read the results of earlier sessions.

        If `read_only` is false, also move damaged files to a folder of their own.

        Raises:
            UsageError: The request is damaged, or a newer version of this program
                wrote a file of the results.
        """
        self.options, self.study, self.store = options, study, store
        if not read_only:
            retry(store.move_old_damaged_files)
        self.request = retry(store.load_request)
        self.finished = retry(lambda: store.finished_runs(repair=not read_only))

    @property
    def _trials_per_gpu(self) -> int | None:
        """The most trials that share a GPU by default, or None for no limit."""
        return None

    @property
    @abc.abstractmethod
    def total(self) -> int:
        """The number of all runs of the study, or of all trials of the search."""

    @property
    @abc.abstractmethod
    def left(self) -> int:
        """The number of unfinished runs of the study, or trials of the search."""

    @abc.abstractmethod
    def _dataset_names(self) -> Iterable[str]:
        """Return the names of the datasets that the runs need."""

    @abc.abstractmethod
    def _prepare(self, shares: Shares) -> tuple[Tally, TrialSource | None, Request]:
        """Return the tally of the trials, their source and the request to save.

        The source proposes the trials of a search while other trials run. For a study,
        it is None, because all trials of a study are planned before the start.
        """

    def _shrink(self, networks: Sequence[int]) -> bool:
        """Plan smaller trials after some have run out of GPU memory.

        `networks` has the number of networks of each of these trials. Return whether
        smaller trials can run their runs.
        """
        return False

    @abc.abstractmethod
    def _headline(self, tally: Tally) -> str:
        """Return the start of a message that says how many runs or trials will run."""

    @abc.abstractmethod
    def _ended_stacks(self) -> Iterable[str]:
        """Return the names of the stacks whose checkpoints are no longer needed.

        A stack is a group of networks that are trained together.
        """

    def _drop_states(self) -> None:
        """Delete the checkpoints that are no longer needed."""
        # if the storage fails, the next session deletes these checkpoints
        with contextlib.suppress(OSError):
            for name in self._ended_stacks():
                self.store.drop_state(name)

    def run(self) -> int:
        """Run the unfinished runs or trials; return the exit code of the command.

        Raises:
            UsageError: The cluster cannot run the trials.
        """
        self.store.delete_partial_files()
        self._drop_states()
        if not self.left:
            say(f"All {self.total} {self.unit} of {self.store.study} are finished.")
            return 0
        try:
            failures = self._run_left()
        except KeyboardInterrupt:
            # do not retry failing storage, so that the process stops quickly
            self.finished = self.store.finished_runs()
            self._drop_states()
            say(
                f"Stopped: {self.left} of {self.total} {self.unit} are not finished. "
                "Progress is saved; run the same command to resume."
            )
            return STOPPED
        self.finished = retry(lambda: self.store.finished_runs(repair=True))
        self._drop_states()
        if self.left and not failures:
            say(f"{self.left} {self.unit} have no records; run the command again.")
        return FAILED if self.left else 0

    def _run_left(self) -> dict[str, str]:
        """Run the unfinished runs or trials; return the errors, by trial name."""
        names, data_dir = sorted(self._dataset_names()), self.options.data_dir
        data = {name: load(name, data_dir) for name in names}
        # import Ray after loading the data, because the import takes a second and wrong
        # options must fail quickly
        from study.running.connection import connected
        from study.running.nodes import check_reach
        from study.running.shares import share_out
        from study.running.tuning import OUT_OF_MEMORY, run_trials
        from trainables.steps.engine import describe_engine

        with connected(self.options.address, self.store.study):
            check_reach(self.store)
            shares = share_out(
                cpus=self.options.cpus_per_trial,
                gpus=self.options.gpus_per_trial,
                max_concurrent=self.options.max_concurrent,
                trials_per_gpu=self._trials_per_gpu,
            )
            engine = describe_engine()
            if not shares.gpus and not engine.startswith("native"):
                say(
                    f"Training uses the engine {engine}. The engine native is about "
                    "twice as fast as this one. `pip install -e .` builds the engine "
                    "native if there is a C compiler (cc)."
                )
            while True:
                tally, source, self.request = self._prepare(shares)
                retry(lambda: self.store.save_request(self.request))
                retry(lambda: self.store.save_failures({}))
                say(f"{self._headline(tally)}, {shares}")
                with background_compaction(self.store):
                    failures = run_trials(
                        tally,
                        store=self.store,
                        datasets=data,
                        shares=shares,
                        options=self.options.run_options(self.study),
                        source=source,
                    )
                too_large = [
                    tally.trials[name].runs
                    for name, reason in failures.items()
                    if OUT_OF_MEMORY.search(reason)
                ]
                if not self._shrink(too_large):
                    break
        with contextlib.suppress(OSError):
            self.store.save_failures(failures)
        return failures


class StudySession(Session):
    """A session that runs the unfinished runs of a study."""

    confirming = False  # whether the seeds only confirm the best settings
    can_join = True  # whether several settings can train together on a GPU
    most_networks: int | None = None  # of a trial, after one ran out of GPU memory
    unit = "runs"
    study: Study

    @functools.cached_property
    def _tasks(self) -> dict[str, int]:
        """The number of tasks of each run of the study, by run_id."""
        return {
            setting.run_id(seed): setting.tasks
            for setting in self.study.settings
            for seed in self.study.seeds
        }

    @property
    def _trials_per_gpu(self) -> int | None:
        """`TRIALS_PER_GPU`, if settings of the study can train together."""
        joins = self.can_join and not self.options.stack_size
        if joins and any(map(common_setting, self.study.settings)):
            return TRIALS_PER_GPU
        return None

    @property
    def total(self) -> int:
        """The number of all runs of the study."""
        return len(self._tasks)

    @property
    def left(self) -> int:
        """The number of unfinished runs of the study."""
        return len(self._tasks.keys() - self.ended)

    @property
    def ended(self) -> set[str]:
        """The run_ids of the runs that this session need not train."""
        return self.finished

    @property
    def other_settings(self) -> int:
        """The number of settings in the results that are not in this study."""
        return len(self.request.settings.keys() - self.study.rows().keys())

    def plan(self, slots: int, gpu_memory: float | None = None) -> list[Trial]:
        """Return the trials that run the unfinished runs of the study.

        Interrupted trials are resumed. `slots` is the number of trials that run at the
        same time. `gpu_memory` is the GPU memory of each trial in bytes, or None
        without a GPU.
        """
        size = self.options.stack_size
        with_checkpoint = retry(self.store.interrupted_stacks)
        planned = [] if size else self.request.stacks_to_resume(slots)
        return plan(
            self.study,
            self.ended,
            [*with_checkpoint, *planned],
            checkpoint_stacks=with_checkpoint,
            stack_size=size,
            slots=slots,
            gpu_memory=gpu_memory,
            joint=self.request.joint,
            can_join=self.can_join,
            most_networks=self.most_networks,
        )

    def _split_joint(self, gpu_memory: float | None) -> None:
        """Split the checkpoints of several settings that cannot be resumed as they are.

        Each of their settings then resumes from a checkpoint of its own. `gpu_memory`
        is None without a GPU.
        """
        settings, seeds = self.study.rows().keys(), set(self.study.seeds)
        joins = self.can_join and gpu_memory is not None and not self.options.stack_size
        for stack_id, stack in retry(self.store.interrupted_stacks):
            own = set(self.request.joint.get(stack_id, ()))
            if settings.isdisjoint(own) or seeds.isdisjoint(stack):
                continue
            too_large = len(own) * len(stack) > (self.most_networks or math.inf)
            if too_large or not (joins and settings >= own and seeds >= set(stack)):
                name = stack_name(stack_id, stack)
                retry(functools.partial(self.store.split_state, name))

    def _shrink(self, networks: Sequence[int]) -> bool:
        """Limit trials to half the networks of the largest that ran out of memory."""
        if max(networks, default=1) < 2:
            return False
        self.most_networks = max(networks) // 2
        self.finished = retry(self.store.finished_runs)
        say(
            f"A trial with {max(networks)} networks ran out of GPU memory. Its runs "
            f"continue in trials with at most {self.most_networks} networks."
        )
        return True

    def run(self) -> int:
        """Run the unfinished runs; return the exit code. See `Session.run`."""
        rows, race = self.study.rows(), self.request.race
        if race is not None and not race.stopped.keys().isdisjoint(rows):
            # settings that a race has stopped are requested again, so save the request
            # even if nothing is left to run
            self.request = self.request.with_settings(
                rows, self.study.seeds, confirming=self.confirming
            )
            retry(lambda: self.store.save_request(self.request))
        return super().run()

    def _dataset_names(self) -> set[str]:
        return {setting.dataset for setting in self.study.settings}

    def _prepare(self, shares: Shares) -> tuple[Tally, None, Request]:
        from study.running.progress import Tally

        self._split_joint(shares.gpu_memory)
        trials = self.plan(shares.slots, shares.gpu_memory)
        rows = self.study.rows()
        request = self.request.with_settings(
            rows, self.study.seeds, confirming=self.confirming
        ).with_stacks(
            rows,
            [trial.name for trial in trials],
            shares.slots,
            [trial.setting_ids for trial in trials if trial.partners],
        )
        planned = {run_id for trial in trials for run_id in trial.run_ids}
        ended = self.ended - planned
        before = [tasks for run, tasks in self._tasks.items() if run in ended]
        tally = Tally(trials, runs_before=len(before), tasks_before=sum(before))
        return tally, None, request

    def _headline(self, tally: Tally) -> str:
        return f"{self.study.name}: {self.left} runs in {len(tally.trials)} trials"

    def _ended_stacks(self) -> Iterable[str]:
        for stack_id, seeds in self.store.interrupted_stacks():
            setting_ids = self.request.settings_of(stack_id)
            rows = [self.request.settings.get(own) for own in setting_ids]
            run_ids = {
                digest(row | {"seed": seed}) for row in rows if row for seed in seeds
            }
            if all(rows) and run_ids <= self.finished:
                yield stack_name(stack_id, seeds)


class ConfirmationSession(StudySession):
    """A session that runs the best settings of a study with new seeds."""

    confirming = True
