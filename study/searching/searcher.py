"""Ray Tune's part of a search: it runs what `study.searching.proposals` proposes.

Tune's own `OptunaSearch` asks and tells Optuna too, but it cannot go on after a kill:
with Optuna's storage kept, trials under way stay so for ever, the sampler repeats its
random numbers, a trial that a scheduler stops counts as one that ended, and an error
of the storage is a line in a log (Ray 2.60, Optuna 5).
"""

from __future__ import annotations

import contextlib
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.plan.trials import Trial
from study.searching.proposals import Proposals
from study.searching.tally import SearchTally
from study.spec.objectives import objective_values
from trainables.trainable import ContinualTrainable


class SearchedTrainable(ContinualTrainable):
    """A trial that reports its mean accuracy so far, by which it may be stopped."""

    def step(self) -> dict[str, Any]:
        """Run the next task."""
        report = super().step()
        so_far = None
        if self._records:
            names = ("mean_accuracy",)
            (so_far,) = objective_values(names, self._run.setting, self._records)
        return report | {"so_far": so_far}


class Proposer(Searcher):
    """Gives Tune the trials that are proposed, and hears how they ended."""

    def __init__(
        self, proposals: Proposals, tally: SearchTally, cpus: float, gpus: float
    ) -> None:
        """Propose, counting, for these shares of a machine."""
        super().__init__()
        self.proposals, self._tally = proposals, tally
        self._shares = (cpus, gpus)
        self._trials: dict[str, Trial] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles it, and the journal is its memory."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial, or that there is none."""
        trial = self.proposals.next()
        if trial is None:
            return Searcher.FINISHED
        self._trials[trial_id] = trial
        self._tally.add(trial)
        return {"trial": trial.config(*self._shares)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear that a trial has ended; one that failed is run again next time."""
        trial = self._trials.pop(trial_id)
        if result and result["tasks_done"] >= trial.setting.tasks and not error:
            # where its records cannot be read now, the next session does
            with contextlib.suppress(OSError):
                self.proposals.finished(trial)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class Halving(FIFOScheduler):
    """Stops trials that do badly, as `Proposals.judged` says."""

    def __init__(self, proposals: Proposals, tally: SearchTally) -> None:
        """Judge the trials of a tally."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._proposals, self._tally = proposals, tally

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles it."""
        return {}

    def on_trial_result(
        self, tune_controller: Any, trial: tune.experiment.Trial, result: dict[str, Any]
    ) -> str:
        """Return whether a trial goes on."""
        mine = self._tally.trials[result["name"]]
        if result["so_far"] is None or result["waiting"]:
            return str(TrialScheduler.CONTINUE)
        if self._proposals.judged(mine, result["tasks_done"], result["so_far"]):
            self._tally.stopped.add(mine.name)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)
