"""Connect the proposals of a search to Ray Tune.

Tune's own `OptunaSearch` cannot resume after a kill (Ray 2.60, Optuna 5): trials that
were running stay so for ever, the sampler repeats its random numbers, a trial that a
scheduler stops counts as complete, and storage errors are only logged.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.plan.trials import Trial
from study.running.progress import NotPickled, Tally
from study.running.shares import Shares
from study.searching.proposals import Proposals
from study.spec.objectives import objective_values
from trainables.trainable import ContinualTrainable


class SearchTally(Tally):
    """The tally of a search, whose trials come one after the other."""

    def __init__(self, proposals: Proposals) -> None:
        """Start with no trial."""
        super().__init__()
        self.pruned: set[str] = set()  # trials that were stopped early
        self._proposals = proposals
        self._ended_before = proposals.ended

    def add(self, trial: Trial) -> None:
        """Add a trial that starts."""
        self.trials[trial.name] = trial
        self.tasks_done[trial.name] = self.diverged[trial.name] = 0

    def line(self) -> str:
        """Return the progress in one line."""
        parts = [f"trials {self._proposals.ended}/{self._proposals.search.trials}"]
        if self.pruned:
            parts.append(f"stopped early {len(self.pruned)}")
        return ", ".join([*parts, self._speed_and_problems()])

    @property
    def _total_flops(self) -> float:
        """The operations of this session, if trials to come cost as those so far."""
        if not self.trials:
            return 0.0
        mean = super()._total_flops / len(self.trials)
        left = self._proposals.search.trials - self._ended_before
        return mean * max(left, len(self.trials))


class SearchedTrainable(ContinualTrainable):
    """A trial that reports its mean accuracy so far, by which it may be stopped."""

    def step(self) -> dict[str, Any]:
        """Run the next task."""
        report, mean = super().step(), None
        if self._records:
            setting, records = self._run.setting, self._records
            (mean,) = objective_values(["mean_accuracy"], setting, records)
        return report | {"mean_accuracy": mean}


class ProposalSearcher(NotPickled, Searcher):
    """Gives Tune the proposed trials, and Optuna their results."""

    def __init__(
        self, proposals: Proposals, tally: SearchTally, shares: Shares
    ) -> None:
        """Start with no trial."""
        super().__init__()
        self._proposals, self._tally, self._shares = proposals, tally, shares
        self._trials: dict[str, Trial] = {}  # Tune's trial_id -> trial

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial, or that there is none."""
        trial = self._proposals.next()
        if trial is None:
            return Searcher.FINISHED
        self._trials[trial_id] = trial
        self._tally.add(trial)
        return {"trial": trial.config(self._shares.cpus, self._shares.gpus)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Give Optuna the result; a failed trial runs again in the next session."""
        trial = self._trials.pop(trial_id)
        if result and result["tasks_done"] >= trial.setting.tasks and not error:
            # if its records cannot be read now, the next session reads them
            with contextlib.suppress(OSError):
                self._proposals.complete(trial)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the memory."""


class Halving(NotPickled, FIFOScheduler):
    """Stops bad trials early: see `Proposals.prune`."""

    def __init__(self, proposals: Proposals, tally: SearchTally) -> None:
        """Judge the trials of a tally."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._proposals, self._tally = proposals, tally

    def on_trial_result(
        self, tune_controller: Any, trial: tune.experiment.Trial, result: dict[str, Any]
    ) -> str:
        """Return whether a trial goes on."""
        own_trial, value = self._tally.trials[result["name"]], result["mean_accuracy"]
        is_new = value is not None and not result["waiting"]
        if is_new and self._proposals.prune(own_trial, result["tasks_done"], value):
            self._tally.pruned.add(own_trial.name)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)
