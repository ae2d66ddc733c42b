"""The Ray Tune adapter: one trial trains one setting with several seeds together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ray import tune
from ray._raylet import getproctitle, setproctitle  # type: ignore[attr-defined]

from trainables.data import Dataset
from trainables.patience import NOTICE_SECONDS, Call, Patience, first_line
from trainables.record import Record
from trainables.setting import RunOptions, Setting

if TYPE_CHECKING:
    from trainables.joint import JointRun
    from trainables.run import ContinualRun

T = TypeVar("T")

SAVE_SECONDS = 1.0  # a step waits so long for the storage, then training continues
CHECKPOINT_SECONDS = 60.0  # between two checkpoints, unless an option says how often


class Keeper(Protocol):
    """The storage that a trial uses. `study.results.store.Store` implements it.

    If the storage fails, each method can raise OSError.
    """

    study: str

    def write_records(self, records: list[Record]) -> None:
        """Write the records of finished runs of one setting."""

    def save_state(self, name: str, state: bytes) -> None:
        """Save the state of unfinished runs under `name`."""

    def load_state(self, name: str) -> bytes | None:
        """Return the last state saved under `name`, or None if no state is saved."""

    def drop_state(self, name: str) -> None:
        """Delete the state saved under `name`, because its runs are finished."""


class ContinualTrainable(tune.Trainable):
    """A trial of Ray Tune: each step of the trial trains on one task.

    `config["trial"]` is a dict with these keys:

        setting       the setting, as a row of plain values
        partners      the rows of the settings that train together with it
        seeds         the seeds, which are trained together (a stack)
        name          the name of the stack
        label         the trial as text, for people
        until         the number of tasks after which the trial pauses
        cpus, gpus    the numbers of CPUs and GPUs to request

    A finished trial writes its records itself. A checkpoint contains the state of the
    run and its records so far. Checkpoints are next to the results, so that a study can
    be resumed even if Tune's folder is lost.

    If a checkpoint cannot be saved, or the storage takes long to answer, training
    continues. If a trial cannot read its checkpoint or write its records, it retries
    in its next step. After `RunOptions.patience` seconds of retries, the trial fails.
    """

    @classmethod
    def default_resource_request(
        cls, config: dict[str, Any]
    ) -> tune.PlacementGroupFactory:
        """Return the CPUs and GPUs that the config requests.

        With `tune.with_resources`, Ray's dashboard would not show this class's name.
        """
        bundle = {"CPU": config["trial"]["cpus"], "GPU": config["trial"]["gpus"]}
        return tune.PlacementGroupFactory([bundle])

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        datasets: dict[str, Dataset],
        keeper: Keeper,
        options: RunOptions,
    ) -> None:
        """Store the objects that all trials share, and start the first trial.

        `datasets` has the datasets by name.
        """
        self._datasets, self._keeper, self._options = datasets, keeper, options
        self._patience = Patience(options.patience)
        self._start(config)

    def __repr__(self) -> str:
        """Return the text that Ray's dashboard shows for this process.

        Ray asks for it only once, and the process can run many trials, so the text has
        only the study's name. `_show_task` shows the trial.
        """
        keeper: Keeper | None = getattr(self, "_keeper", None)
        return f"trials of the study {keeper.study}" if keeper else super().__repr__()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same process; return True, as Ray Tune expects."""
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        """Create the run of a trial. The first step loads a checkpoint, if any."""
        import torch

        from trainables.start import start_trial

        trial = config["trial"]
        rows = [trial["setting"], *trial["partners"]]
        settings = [Setting.from_row(row) for row in rows]
        dataset = self._datasets[settings[0].dataset]
        device = "cuda" if trial["gpus"] else "cpu"
        # more threads than CPUs would slow down all trials on the machine
        torch.set_num_threads(max(1, int(trial["cpus"])))
        if trial["gpus"]:
            torch.cuda.reset_peak_memory_stats()  # forget the previous trial
        self._name, self._label = trial["name"], trial["label"]
        self._until: int = trial["until"]
        self._new_run: Callable[[], ContinualRun | JointRun] = lambda: start_trial(
            settings, trial["seeds"], dataset, device, options=self._options
        )
        self._run = self._new_run()
        self._records: list[Record] = []
        self._resumed = self._written = self._save_failed = False
        self._tasks_saved, self._saved_at = 0, time.monotonic()
        self._warning: str | None = None
        self._patience.reset()
        self._call: Call[Any] | None = None  # an action that the trial waits for
        # a checkpoint that is being saved, and the number of its tasks
        self._saving: tuple[Call[None], int] | None = None

    def step(self) -> dict[str, Any]:
        """Run the next task, and return the progress of the trial.

        The first step also reads the checkpoint, and the last step writes the records.
        If the storage fails, the next step tries again before it trains.

        Raises:
            OSError: The storage has failed for longer than `RunOptions.patience`.
        """
        waiting = None if self._resumed else self._try(self._resume)
        self._show_task()
        if self._resumed:
            if self._run.task < self._until and not self._run.finished:
                origin = {"study": self._keeper.study, "trial_id": self.trial_id}
                self._records += [origin | row for row in self._run.next_task()]
            if self._run.finished:
                waiting = self._try(self._finish)
            elif self._run.task >= self._until:
                waiting = self._try(self._pause)
            elif self._checkpoint_is_due():
                waiting = self._try(self._save, required=False)
        seeds = [len(run.seeds) for run in self._run.runs]
        alive = [len(run.alive) for run in self._run.runs]
        return {
            "name": self._name,
            "tasks_done": self._run.task,
            "tasks_saved": self._tasks_saved,
            "runs_diverged": sum(seeds) - sum(alive),
            "alive": alive,
            "levels": self._levels(),
            "gpu_memory": self._gpu_memory(),
            "waiting": waiting,
            "warning": self._warning,
            "done": self._written
            if self._run.finished
            else self._run.task >= self._until and self._tasks_saved == self._run.task,
        }

    def _levels(self) -> list[float | None]:
        """Return the mean of each setting's measure on the last task, if it has one."""
        measure = self._setting.problem.measure
        values: dict[str, list[float]] = {
            run.setting.setting_id: [] for run in self._run.runs
        }
        runs = sum(len(run.seeds) for run in self._run.runs)
        for row in self._records[-runs:]:
            if row[measure] is not None:
                values[row["setting_id"]].append(row[measure])
        return [sum(own) / len(own) if own else None for own in values.values()]

    @property
    def _setting(self) -> Setting:
        """The setting of the trial, or the first of several."""
        return self._run.runs[0].setting

    def _show_task(self) -> None:
        """Show the trial and its task in the title of this process, as in `ps`.

        Ray's dashboard shows the title too. Ray sets the title back after each step.
        """
        tasks, title = self._setting.tasks, getproctitle()
        if title.startswith("ray::"):
            task = min(self._run.task + 1, tasks)
            setproctitle(f"{title} {self._label}: task {task} of {tasks}")

    def _gpu_memory(self) -> int | None:
        """Return the peak GPU memory of the run in bytes, or None on a CPU."""
        import torch

        on_gpu = self._run.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self._run.device) if on_gpu else None

    def _try(self, action: Callable[[], None], *, required: bool = True) -> str | None:
        """Run `action`, which uses the storage, and catch its error.

        Return the error as text, or None. After an error of a `required` action, wait,
        because the next step retries it.
        """
        try:
            action()
        except OSError as error:
            if required:
                self._patience.wait(error)
            return first_line(error)
        self._patience.reset()
        return None

    def _ask(self, action: Callable[[], T]) -> T:
        """Run `action`, which uses the storage, and return its result.

        Raises:
            TimeoutError: The storage has not answered for `NOTICE_SECONDS`. The next
                call of this method waits for the same answer, and ignores `action`.
            OSError: The storage fails.
        """
        call: Call[T] = self._call or Call(action)
        self._call = call
        if call.has_ended(NOTICE_SECONDS):
            self._call = None
        return call.result()

    def _resume(self) -> None:
        """Resume from the checkpoint of this trial, if there is a usable checkpoint."""
        from trainables import checkpoint

        state = self._ask(lambda: self._keeper.load_state(self._name))
        self._resumed = True
        try:
            if state is not None:
                self._records = checkpoint.unpack(state, self._run, self._keeper.study)
                self._warning = self._engine_change()
        except Exception as error:  # corrupt input can raise anything
            fault = first_line(error)
            self._warning = f"restarted, because the checkpoint cannot be used: {fault}"
            self._run, self._records = self._new_run(), []
        self._tasks_saved = self._run.task

    def _engine_change(self) -> str | None:
        """Return a warning if another engine trained the tasks so far."""
        engine = self._run.engine
        before = {row["engine"] for row in self._records} - {engine}
        if not before:
            return None
        old = " and ".join(sorted(before))
        return f"continues with engine {engine}; the tasks so far used engine {old}"

    def _finish(self) -> None:
        """Write the records, then delete the saved state."""
        with contextlib.suppress(OSError):
            self._end_save(NOTICE_SECONDS)
        if self._saving:  # the state must not be saved after it is deleted
            raise TimeoutError("the storage has not answered")
        if not self._written:
            self._ask(self._write_records)
            self._written, self._tasks_saved = True, self._run.task
        # if this fails, the end of the study deletes the state
        with contextlib.suppress(OSError):
            self._ask(lambda: self._keeper.drop_state(self._name))

    def _write_records(self) -> None:
        """Write the records of each setting to its own file."""
        for run in self._run.runs:
            own = run.setting.setting_id
            self._keeper.write_records(
                [row for row in self._records if row["setting_id"] == own]
            )

    def _pause(self) -> None:
        """Save a checkpoint of all tasks so far, unless they are saved already."""
        self._end_save(NOTICE_SECONDS)
        if self._tasks_saved < self._run.task:
            self._save(NOTICE_SECONDS)

    def _checkpoint_is_due(self) -> bool:
        if self._save_failed:
            return True
        if every := self._options.checkpoint_every:
            return self._run.task % every == 0
        return time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS

    def _save(self, wait: float = SAVE_SECONDS) -> None:
        """Save the state, unless an earlier state is still being saved.

        Raises:
            TimeoutError: The storage has not answered for `NOTICE_SECONDS`.
            OSError: The storage fails.
        """
        if self._saving:
            self._end_save(0.0)
            return
        from trainables import checkpoint

        self._save_failed = True
        state = checkpoint.pack(self._run, self._records)
        call = Call(lambda: self._keeper.save_state(self._name, state))
        self._saving = call, self._run.task
        self._end_save(wait)

    def _end_save(self, wait: float) -> None:
        """Wait up to `wait` seconds for a running save. If it ends, update the counts.

        Raises:
            TimeoutError: The storage has not answered for `NOTICE_SECONDS`.
            OSError: The storage fails.
        """
        if not self._saving:
            return
        call, tasks = self._saving
        if not call.has_ended(wait):
            if call.seconds >= NOTICE_SECONDS:
                call.result()  # raises TimeoutError
            return
        self._saving = None
        call.result()
        self._save_failed, self._tasks_saved = False, tasks
        self._saved_at = time.monotonic()

    def cleanup(self) -> None:
        """If the trial is stopped early, save the tasks that are not saved yet."""
        if self._written:
            return
        # if the storage fails, the previous checkpoint still exists
        with contextlib.suppress(OSError):
            self._end_save(NOTICE_SECONDS)
        if not self._saving and self._run.task > self._tasks_saved:
            with contextlib.suppress(OSError):
                self._save(NOTICE_SECONDS)
