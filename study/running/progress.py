"""Progress of a session: what its trials report, and how the terminal shows it."""

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
"""Between two lines where standard output is not a terminal."""

LIVE_SECONDS = 0.2
"""Between two updates of the live line on a terminal."""


class NotPickled:
    """Tune pickles its parts; this program never restores them, and some cannot be."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Tally:
    """The latest report of each trial, and their sums.

    A restarted trial reports some tasks again, so reports are never added up.

    Attributes:
        runs_before: Runs that earlier sessions finished.
        tasks_before: Their tasks.
    """

    def __init__(
        self, trials: Sequence[Trial] = (), runs_before: int = 0, tasks_before: int = 0
    ) -> None:
        """Start with no report of these trials."""
        self.trials = {trial.name: trial for trial in trials}
        self.tasks_done = dict.fromkeys(self.trials, 0)
        self.diverged = dict.fromkeys(self.trials, 0)  # trial -> diverged runs
        self.failed: set[str] = set()  # trials that Tune has given up
        self.waiting: set[str] = set()  # trials that wait for storage
        self.runs_before, self.tasks_before = runs_before, tasks_before
        self.started: float | None = None  # local time of the first report, in seconds
        self._resumed_tasks: dict[str, int] = {}  # trial -> tasks of earlier sessions

    def report(self, result: Mapping[str, Any]) -> None:
        """Take a trial's report."""
        name, tasks = result["name"], result["tasks_done"]
        self.waiting.discard(name)
        if result["waiting"]:
            self.waiting.add(name)
            if tasks == self.tasks_done[name]:
                return
        if self.started is None:
            # the first task waited for Ray and PyTorch to start: it says nothing about
            # the speed of the others, so it counts as done before
            self.started = time.monotonic()
            self._resumed_tasks[name] = tasks
        self._resumed_tasks.setdefault(name, tasks - 1)
        self.tasks_done[name] = tasks
        self.diverged[name] = result["runs_diverged"]

    @property
    def fraction(self) -> float:
        """The fraction of this session's floating-point operations that are done."""
        total = self._total_flops
        return self._flops(self.tasks_done) / total if total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """The time left at the mean speed of this session; None: not known yet."""
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
        """Return the operations of so many tasks of each trial."""
        return sum(
            self.trials[name].cost.flops * count / self.trials[name].setting.tasks
            for name, count in tasks.items()
        )


class ProgressDisplay(NotPickled, tune.Callback):
    """Feeds the tally and shows it: a live line on a terminal, else now and then."""

    def __init__(self, tally: Tally) -> None:
        """Show a tally."""
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
        """Take a report; say once when storage fails, and when it works again."""
        self.tally.report(result)
        if result["waiting"] and not self._storage_fails:
            self._storage_fails = True
            say(f"Storage fails, retrying: {result['waiting']}")
        elif self._storage_fails and not self.tally.waiting:
            self._storage_fails = False
            say("Storage works again.")
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
        """Show the tally, at most once an interval: the sums are long."""
        now = time.monotonic()
        if now - self._last_shown < (LIVE_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._last_shown = now
        line, fraction = self.tally.line(), self.tally.fraction
        if self._live:
            self._progress.update(self._bar, completed=fraction, description=line)
        else:
            say(line)
