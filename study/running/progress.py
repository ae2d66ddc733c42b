"""Add up the reports of all trials, and show the progress of a study."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune
from rich.progress import BarColumn, Progress, TextColumn

from study.console import console, say
from study.plan.trials import Trial
from trainables.usage import format_duration

PLAIN_SECONDS = 15.0  # seconds between two progress lines, except on a terminal
LIVE_SECONDS = 0.2  # seconds between two updates of the progress line on a terminal
SHARE = 0.05  # the largest share of the time that the sums over all trials can take


class NotPickled:
    """A base class of callbacks that are pickled without their attributes.

    Tune pickles all callbacks, but this program never loads the pickled callbacks.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Tally:
    """Keeps the latest report of each trial, and adds up the reports of all trials.

    A restarted trial reports some tasks again. So a new report of a trial replaces the
    previous report of this trial.

    Attributes:
        runs_before: The number of runs that earlier sessions finished.
        tasks_before: The number of tasks that earlier sessions completed in these runs.
    """

    def __init__(
        self, trials: Sequence[Trial] = (), runs_before: int = 0, tasks_before: int = 0
    ) -> None:
        """Start with no reports."""
        self.trials = {trial.name: trial for trial in trials}
        self.tasks_done = dict.fromkeys(self.trials, 0)
        self.diverged = dict.fromkeys(self.trials, 0)  # trial -> diverged runs
        self.failed: set[str] = set()  # trials that Tune does not retry any more
        self.waiting: set[str] = set()  # trials that retry failing storage
        self.runs_before, self.tasks_before = runs_before, tasks_before
        self.started: float | None = None  # local time of the first report, in seconds
        # trial -> completed tasks that do not count for the speed, for example of an
        # earlier session
        self._resumed_tasks: dict[str, int] = {}

    def report(self, result: Mapping[str, Any]) -> None:
        """Store the latest report of a trial."""
        name, tasks = result["name"], result["tasks_done"]
        self.waiting.discard(name)
        if result["waiting"]:
            self.waiting.add(name)
            if tasks == self.tasks_done[name]:
                return
        if self.started is None:
            # measure the speed from the end of the first task, because the start of Ray
            # and PyTorch makes the first task slow
            self.started = time.monotonic()
            self._resumed_tasks[name] = tasks
        self._resumed_tasks.setdefault(name, tasks - 1)
        self.tasks_done[name] = tasks
        self.diverged[name] = result["runs_diverged"]

    @property
    def fraction(self) -> float:
        """The fraction of the work of all trials that is done, from 0 to 1."""
        total = self._total_work
        return self._work(self.tasks_done) / total if total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """The seconds left at the mean speed so far, or None if no speed is known."""
        done = self._work(self.tasks_done)
        computed = done - self._work(self._resumed_tasks)
        if computed <= 0:
            return None
        return self._elapsed * (self._total_work - done) / computed

    def line(self) -> str:
        """Return one line of text that shows the progress of all trials."""
        runs = done = self.runs_before
        tasks = total = 0
        for name, trial in self.trials.items():
            own, length = trial.runs, trial.tasks
            runs += own
            done += own * (self.tasks_done[name] >= length)
            tasks += own * self.tasks_done[name]
            total += own * length
        return (
            f"runs {done}/{runs}, tasks {tasks:,}/{total:,}, "
            f"{self._speed_and_problems()}"
        )

    def _speed_and_problems(self) -> str:
        tasks = sum(
            self.trials[name].runs * (self.tasks_done[name] - before)
            for name, before in self._resumed_tasks.items()
        )
        rate = max(0, tasks) / self._elapsed if self._elapsed else 0.0
        left = "?" if self.seconds_left is None else format_duration(self.seconds_left)
        waiting = f", waiting {len(self.waiting)}" if self.waiting else ""
        return (
            f"{rate:.1f} tasks/s, left {left}, diverged {sum(self.diverged.values())}, "
            f"failed {len(self.failed)}{waiting}"
        )

    @property
    def _elapsed(self) -> float:
        return 0.0 if self.started is None else time.monotonic() - self.started

    @property
    def _total_work(self) -> float:
        return sum(trial.cost.work for trial in self.trials.values())

    def _work(self, tasks: Mapping[str, int]) -> float:
        """Return the work (`Cost.work`) of this many tasks of each trial."""
        return sum(
            self.trials[name].cost.work * count / self.trials[name].tasks
            for name, count in tasks.items()
        )


class ProgressDisplay(NotPickled, tune.Callback):
    """Passes each report of a trial to a `Tally`, and shows the progress.

    On a terminal, the display updates one line. In a file or a pipe, it adds lines.
    """

    def __init__(self, tally: Tally) -> None:
        """Prepare to show the progress that `tally` counts."""
        self.tally = tally
        self._restarts = 0
        self._live = console.is_terminal
        self._last_shown, self._pause = time.monotonic(), 0.0
        self._warned: set[str] = set()
        self._storage_fails = False
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            redirect_stdout=False,  # `only_console_prints` redirects standard output
            redirect_stderr=False,
            disable=not self._live,
        )
        self._bar = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        restarts = f", restarted {self._restarts}" if self._restarts else ""
        say(self.tally.line() + restarts)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Store a report of a trial. Say when the storage fails or works again."""
        self.tally.report(result)
        if result["waiting"] and not self._storage_fails:
            self._storage_fails = True
            say(f"The storage fails. Retrying: {result['waiting']}")
        elif self._storage_fails and not self.tally.waiting:
            self._storage_fails = False
            say("The storage works again.")
        if result["warning"] and result["name"] not in self._warned:
            self._warned.add(result["name"])
            say(f"{self.tally.trials[result['name']].label}: {result['warning']}")
        self._show()

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count a restart of a trial after a failure."""
        self._restarts += 1
        self.tally.waiting.discard(trial.config["trial"]["name"])

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count a trial that has failed and that Tune does not retry."""
        self.tally.failed.add(trial.config["trial"]["name"])
        self.tally.waiting.discard(trial.config["trial"]["name"])

    def _show(self) -> None:
        """Show the progress line, unless it was shown a short time ago."""
        now = time.monotonic()
        interval = LIVE_SECONDS if self._live else PLAIN_SECONDS
        if now - self._last_shown < max(interval, self._pause):
            return
        self._last_shown = now
        line, fraction = self.tally.line(), self.tally.fraction
        # show the line less often if the sums over very many trials take long
        self._pause = (time.monotonic() - now) / SHARE
        if self._live:
            self._progress.update(self._bar, completed=fraction, description=line)
        else:
            say(line)
