"""Connect the proposals of a search to Ray Tune.

Tune's own `OptunaSearch` cannot resume a search that was killed (Ray 2.60, Optuna 5):
trials that were running never end, and the sampler repeats its random numbers. If a
scheduler stops a trial, `OptunaSearch` counts the trial as complete. `OptunaSearch`
logs errors of the storage, but does not raise them.
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
    """Counts the progress of a search. Trials are added when they start."""

    def __init__(self, proposals: Proposals) -> None:
        """Start with no trials."""
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
    def _total_work(self) -> float:
        """The estimated work of this session (`study.plan.cost.Cost.work`).

        The estimate assumes that later trials cost as much as the mean trial so far.
        """
        if not self.trials:
            return 0.0
        mean = super()._total_work / len(self.trials)
        left = self._proposals.search.trials - self._ended_before
        return mean * max(left, len(self.trials))


class SearchedTrainable(ContinualTrainable):
    """A trial that also reports its objective so far. Bad trials are stopped."""

    def step(self) -> dict[str, Any]:
        """Run the next task; return its report with the objective so far."""
        report, mean = super().step(), None
        if self._records:
            setting, records = self._setting, self._records
            (mean,) = objective_values(["mean_accuracy"], setting, records)
        return report | {"mean_accuracy": mean}


class ProposalSearcher(NotPickled, Searcher):
    """Gives the proposed trials to Tune, and their results to Optuna."""

    def __init__(
        self, proposals: Proposals, tally: SearchTally, shares: Shares
    ) -> None:
        """Start with no trials."""
        super().__init__()
        self._proposals, self._tally, self._shares = proposals, tally, shares
        self._trials: dict[str, Trial] = {}  # Tune's trial_id -> trial

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial, or `FINISHED` if there is none."""
        trial = self._proposals.next()
        if trial is None:
            return Searcher.FINISHED
        self._trials[trial_id] = trial
        self._tally.add(trial)
        return {"trial": trial.config(self._shares.cpus, self._shares.gpus)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Give Optuna the result of a trial that has run all its tasks.

        If the trial failed, Optuna gets no result; the next session runs it again.
        """
        trial = self._trials.pop(trial_id)
        if result and result["tasks_done"] >= trial.setting.tasks and not error:
            # if the records cannot be read now, the next session reads them
            with contextlib.suppress(OSError):
                self._proposals.complete(trial)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing, because the journal already saves the search."""


class Halving(NotPickled, FIFOScheduler):
    """Stops bad trials before their last task; `Proposals.prune` decides which."""

    def __init__(self, proposals: Proposals, tally: SearchTally) -> None:
        """Prepare to stop trials that `tally` counts."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._proposals, self._tally = proposals, tally

    def on_trial_result(
        self, tune_controller: Any, trial: tune.experiment.Trial, result: dict[str, Any]
    ) -> str:
        """Return Tune's code to stop a trial or to continue it."""
        own_trial, value = self._tally.trials[result["name"]], result["mean_accuracy"]
        is_new = value is not None and not result["waiting"]
        if is_new and self._proposals.prune(own_trial, result["tasks_done"], value):
            self._tally.pruned.add(own_trial.name)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)
