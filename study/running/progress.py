"""Sum the reports of a session's trials, and show the progress on the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune
from rich.progress import BarColumn, Progress, TextColumn

from study.console import console, say
from study.plan.machine import format_duration
from study.plan.trials import Trial

PLAIN_SECONDS = 15.0
"""Seconds between two progress lines if standard output is not a terminal."""

LIVE_SECONDS = 0.2
"""Seconds between two updates of the live line on a terminal."""


class NotPickled:
    """Pickles no attributes. Tune pickles callbacks, but nothing restores them here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Tally:
    """The latest report of each trial, and the sums over all trials.

    A restarted trial reports some tasks again. So each report replaces the one before.

    Attributes:
        runs_before: The number of runs that earlier sessions finished.
        tasks_before: The number of tasks in those runs.
    """

    def __init__(
        self, trials: Sequence[Trial] = (), runs_before: int = 0, tasks_before: int = 0
    ) -> None:
        """Start without reports."""
        self.trials = {trial.name: trial for trial in trials}
        self.tasks_done = dict.fromkeys(self.trials, 0)
        self.diverged = dict.fromkeys(self.trials, 0)  # trial -> diverged runs
        self.failed: set[str] = set()  # trials that Tune has given up
        self.waiting: set[str] = set()  # trials that wait for storage
        self.runs_before, self.tasks_before = runs_before, tasks_before
        self.started: float | None = None  # local time of the first report, in seconds
        self._resumed_tasks: dict[str, int] = {}  # trial -> tasks of earlier sessions

    def report(self, result: Mapping[str, Any]) -> None:
        """Store the latest report of a trial."""
        name, tasks = result["name"], result["tasks_done"]
        self.waiting.discard(name)
        if result["waiting"]:
            self.waiting.add(name)
            if tasks == self.tasks_done[name]:
                return
        if self.started is None:
            # the time of the first task includes the start of Ray and PyTorch, so the
            # speed is measured from the end of that task
            self.started = time.monotonic()
            self._resumed_tasks[name] = tasks
        self._resumed_tasks.setdefault(name, tasks - 1)
        self.tasks_done[name] = tasks
        self.diverged[name] = result["runs_diverged"]

    @property
    def fraction(self) -> float:
        """The completed fraction of the trials' floating-point operations."""
        total = self._total_flops
        return self._flops(self.tasks_done) / total if total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """The seconds left at this session's mean speed, or None before it is known."""
        done = self._flops(self.tasks_done)
        computed = done - self._flops(self._resumed_tasks)
        if computed <= 0:
            return None
        return self._elapsed * (self._total_flops - done) / computed

    def line(self) -> str:
        """Return the progress in one line."""
        runs = done = self.runs_before
        tasks = total = 0
        for name, trial in self.trials.items():
            stack, length = len(trial.seeds), trial.setting.tasks
            runs += stack
            done += stack * (self.tasks_done[name] >= length)
            tasks += stack * self.tasks_done[name]
            total += stack * length
        return (
            f"runs {done}/{runs}, tasks {tasks:,}/{total:,}, "
            f"{self._speed_and_problems()}"
        )

    def _speed_and_problems(self) -> str:
        tasks = sum(
            len(self.trials[name].seeds) * (self.tasks_done[name] - before)
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
    def _total_flops(self) -> float:
        return sum(trial.cost.flops for trial in self.trials.values())

    def _flops(self, tasks: Mapping[str, int]) -> float:
        """Return the operations for `tasks`, which has a number of tasks per trial."""
        return sum(
            self.trials[name].cost.flops * count / self.trials[name].setting.tasks
            for name, count in tasks.items()
        )


class ProgressDisplay(NotPickled, tune.Callback):
    """Gives each report to the tally, and shows the tally's line from time to time.

    On a terminal, one live line is updated. Other outputs get a new line each time.
    """

    def __init__(self, tally: Tally) -> None:
        """Prepare to show `tally`."""
        self.tally = tally
        self._restarts = 0
        self._live = console.is_terminal
        self._last_shown = time.monotonic()
        self._warned: set[str] = set()
        self._storage_fails = False
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            redirect_stdout=False,  # `only_console_prints` redirects it
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
        """Store a report; say when the storage fails and when it works again."""
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
        """Count a restart."""
        self._restarts += 1
        self.tally.waiting.discard(trial.config["trial"]["name"])

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count a trial that Tune has given up."""
        self.tally.failed.add(trial.config["trial"]["name"])
        self.tally.waiting.discard(trial.config["trial"]["name"])

    def _show(self) -> None:
        """Show the tally's line, but not too often, because its sums take time."""
        now = time.monotonic()
        if now - self._last_shown < (LIVE_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._last_shown = now
        line, fraction = self.tally.line(), self.tally.fraction
        if self._live:
            self._progress.update(self._bar, completed=fraction, description=line)
        else:
            say(line)
