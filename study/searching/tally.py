"""What a person sees while a search runs: its trials come one after the other."""

from __future__ import annotations

from collections.abc import Callable

from study.plan.trials import Trial
from study.running.progress import Tally


class SearchTally(Tally):
    """Counts what the trials of a search report.

    Attributes:
        stopped: The names of those that were stopped before the end of their stream.
    """

    def __init__(self, wanted: int, over: Callable[[], int]) -> None:
        """Start with no trial.

        Args:
            wanted: How many trials the search is to have.
            over: Tells how many have ended.
        """
        super().__init__([], 0)
        self.stopped: set[str] = set()
        self._wanted, self._over = wanted, over
        self._before = over()

    def add(self, trial: Trial) -> None:
        """Count a trial that begins."""
        self.trials[trial.name] = trial
        self.tasks_done[trial.name] = self.diverged[trial.name] = 0

    @property
    def _whole(self) -> float:
        """The operations of all this session's trials, if all are as those so far."""
        if not self.trials:
            return 0.0
        mean = super()._whole / len(self.trials)
        return mean * max(self._wanted - self._before, len(self.trials))

    def line(self) -> str:
        """Return the state of things in one line."""
        early = f"stopped early {len(self.stopped)}, " * bool(self.stopped)
        return f"trials {self._over()}/{self._wanted}, {early}{self._how()}"
