"""What a person sees while a study runs: one live line, or now and then a plain one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ray import tune
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from study.plan.rates import clock
from study.plan.trials import Trial

PLAIN_SECONDS = 15.0
"""Between lines where the output is no terminal."""

LIVE_SECONDS = 0.2
"""Between two looks of the live line."""


class Tally:
    """Counts what the trials report; each trial's own word is the latest one.

    A trial that is retried reports tasks again, so nothing here is added up from
    reports: a trial has done as many tasks as it last said.
    """

    def __init__(
        self, trials: Sequence[Trial], runs_done: int, tasks_found: int = 0
    ) -> None:
        """Start with nothing done but the runs found finished.

        Args:
            trials: What is to run.
            runs_done: Runs that earlier sessions did.
            tasks_found: Their tasks.
        """
        self.trials = {trial.name: trial for trial in trials}
        self.found, self.tasks_found = runs_done, tasks_found
        self.runs = runs_done + sum(len(trial.seeds) for trial in trials)
        self.tasks_done = dict.fromkeys(self.trials, 0)
        self.diverged = dict.fromkeys(self.trials, 0)
        self.failed: dict[str, str] = {}
        self.waiting: dict[str, str] = {}
        self.started: float | None = None
        self._at_start: dict[str, int] = {}

    def report(self, result: dict[str, Any]) -> None:
        """Take a trial's report."""
        name = result["name"]
        self.waiting.pop(name, None)
        if result["waiting"]:
            self.waiting[name] = result["waiting"]
            if result["tasks_done"] == self.tasks_done[name]:
                return
        # tasks that a checkpoint brought cost this session nothing; the first task,
        # which waited for Ray and PyTorch to start, would make the rest look slow
        first = self.started is None
        self._at_start.setdefault(name, result["tasks_done"] - (not first))
        if self.started is None:
            self.started = time.monotonic()
        self.tasks_done[name] = result["tasks_done"]
        self.diverged[name] = result["runs_diverged"]

    @property
    def _elapsed(self) -> float:
        """Seconds since the first report."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def _share(self, name: str, tasks: int) -> float:
        trial = self.trials[name]
        return trial.cost.flops * tasks / trial.setting.tasks

    @property
    def _whole(self) -> float:
        """The operations of all this session's work."""
        return sum(trial.cost.flops for trial in self.trials.values())

    @property
    def _done(self) -> float:
        return sum(self._share(n, t) for n, t in self.tasks_done.items())

    @property
    def fraction(self) -> float:
        """The fraction of this session's work that is done, by its operations."""
        return self._done / self._whole if self._whole else 1.0

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at the rate so far; None: not known yet."""
        done, free = self._done, self._free
        if done <= free:
            return None
        return self._elapsed * (self._whole - done) / (done - free)

    @property
    def _free(self) -> float:
        """The operations that earlier sessions did."""
        return sum(self._share(n, t) for n, t in self._at_start.items())

    def line(self) -> str:
        """Return the state of things in one line."""
        runs = self.found + sum(
            len(trial.seeds)
            for name, trial in self.trials.items()
            if self.tasks_done[name] >= trial.setting.tasks
        )
        tasks = sum(len(self.trials[n].seeds) * t for n, t in self.tasks_done.items())
        whole = sum(len(t.seeds) * t.setting.tasks for t in self.trials.values())
        return f"runs {runs}/{self.runs}, tasks {tasks:,}/{whole:,}, {self._how()}"

    def _how(self) -> str:
        """Return how fast it goes, and how well."""
        tasks = sum(
            len(self.trials[n].seeds) * (t - self._at_start.get(n, 0))
            for n, t in self.tasks_done.items()
        )
        rate = tasks / self._elapsed if tasks > 0 and self._elapsed else 0.0
        left = self.seconds_left
        return (
            f"{rate:.1f} tasks/s, left {'?' if left is None else clock(left)}, "
            f"diverged {sum(self.diverged.values())}, failed {len(self.failed)}"
            + f", waiting {len(self.waiting)}"
            * bool(self.waiting)
        )


class Reporter(tune.Callback):
    """Shows the tally as Tune's results come in."""

    def __init__(self, tally: Tally, console: Console) -> None:
        """Show on a console."""
        self.tally = tally
        self.restarts = 0
        self._console = console
        self._last = time.monotonic() - LIVE_SECONDS * console.is_terminal
        self._told: set[str] = set()
        self._waiting = False
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            redirect_stdout=False,  # which is not ours alone
            redirect_stderr=False,
        )
        self._row = self._bar.add_task("starting", total=1.0)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks, and a terminal cannot be."""
        return {}

    def __enter__(self) -> Reporter:
        """Start to show."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, leaving the last state as a line."""
        if self._console.is_terminal:
            self._bar.stop()
        again = f", started again {self.restarts}" * bool(self.restarts)
        self._console.print(self.tally.line() + again, soft_wrap=True)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Take a report, and say it once when storage fails and when it answers."""
        self.tally.report(result)
        if result["waiting"] and not self._waiting:
            self._waiting = True
            self.say(f"waiting for storage, trying again: {result['waiting']}")
        elif self._waiting and not self.tally.waiting:
            self._waiting = False
            self.say("storage answers again: going on")
        if result["odd"] and result["name"] not in self._told:
            self._told.add(result["name"])
            self.say(f"{self.tally.trials[result['name']].label}: {result['odd']}")
        self._show()

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count a trial that has to start again."""
        self.restarts += 1
        self.tally.waiting.pop(trial.config["trial"]["name"], None)

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count a trial that Tune has given up."""
        name = trial.config["trial"]["name"]
        self.tally.failed[name] = trial.error_file or ""
        self.tally.waiting.pop(name, None)
        self._show()

    def say(self, line: str) -> None:
        """Say something once, beside the live line."""
        self._console.print(line, soft_wrap=True)

    def _show(self) -> None:
        """Show the tally, but not at every one of many reports: it is a long sum."""
        now, live = time.monotonic(), self._console.is_terminal
        if now - self._last < (LIVE_SECONDS if live else PLAIN_SECONDS):
            return
        self._last = now
        line = self.tally.line()
        if live:
            self._bar.update(self._row, completed=self.tally.fraction, description=line)
        else:
            self._console.print(line, soft_wrap=True)
