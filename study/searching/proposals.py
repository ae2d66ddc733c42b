"""Let Optuna propose the trials of a search, and resume a search that was killed.

The journal has the proposed trials, and the records have their results. A resumed
search compares the journal with the records. If a proposed trial has no records, the
trial runs again with the same setting and the same number. If a trial has records but
Optuna does not have its result, Optuna gets the result and the trial does not run. So a
search that was killed loses no trials.

For each trial, Optuna's sampler gets a new random seed, made from the trial's number.
So a proposal depends on this number and on the results so far, but not on how often the
search was killed.
"""

from __future__ import annotations

import contextlib

import numpy as np
import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from study.plan.trials import Trial
from study.results.files import retry
from study.results.store import Store
from study.searching.journal import SETTING, open_search, setting_of
from study.spec.objectives import objective_values
from study.spec.search import Search
from trainables.setting import without_nulls

# Successive halving compares trials after certain numbers of tasks, called rungs: after
# FIRST_RUNG tasks, then always after REDUCTION times as many. At each rung, one in
# REDUCTION trials continues.
FIRST_RUNG, REDUCTION = 3, 3
RUNGS = frozenset(FIRST_RUNG * REDUCTION**i for i in range(20))
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Proposals:
    """The trials of a search. Unfinished trials of earlier sessions come first.

    Optuna can propose the same setting several times, each time with a new trial
    number. The setting runs only once, because its records would be the same.
    """

    def __init__(
        self, search: Search, store: Store, finished: set[str], *, patience: float
    ) -> None:
        """Load the trials that earlier sessions proposed.

        This process must have claimed the results in `store`. `finished` has the
        run_ids of the runs that have all their records. If the storage fails, retry for
        `patience` seconds.

        Raises:
            UsageError: The journal is damaged or belongs to another search.
            OSError: The storage fails.
        """
        self.search, self._store, self._patience = search, store, patience
        self._journal, self.study = retry(lambda: open_search(store, search), patience)
        self.study.pruner = SuccessiveHalvingPruner(FIRST_RUNG, REDUCTION)
        self._finished = set(finished)
        self._to_run: list[Trial] = []
        # trial name -> Optuna's numbers of the trials that have no result
        self._open_numbers: dict[str, list[int]] = {}
        for optuna_trial in self._optuna_trials():
            self._resume(optuna_trial)
        retry(self._journal.flush, patience)

    def _resume(self, optuna_trial: FrozenTrial) -> None:
        """Give Optuna the result of an earlier trial, or plan to run the trial."""
        trial = Trial(setting_of(optuna_trial), self.search.seeds)
        if optuna_trial.state == TrialState.RUNNING:
            numbers = self._open_numbers.setdefault(trial.name, [])
            numbers.append(optuna_trial.number)
            if self._has_records(trial):
                self.complete(trial)
            elif len(numbers) == 1:
                self._to_run.append(trial)
        elif optuna_trial.state == TrialState.COMPLETE and not self._has_records(trial):
            # Optuna has the result, but the records are missing: run the trial again
            self._open_numbers.setdefault(trial.name, [])
            if trial not in self._to_run:
                self._to_run.append(trial)

    @property
    def ended(self) -> int:
        """The number of trials that have ended, after their last task or earlier."""
        return len(self._optuna_trials(*ENDED))

    @property
    def left(self) -> int:
        """The number of trials to run, including trials whose records are missing."""
        missing = sum(not self._open_numbers[trial.name] for trial in self._to_run)
        return max(0, self.search.trials - self.ended) + missing

    def ended_stacks(self) -> set[str]:
        """Return the names of the trials that have ended and do not run again."""
        ended = self._optuna_trials(*ENDED)
        names = {Trial(setting_of(old), self.search.seeds).name for old in ended}
        return names - {trial.name for trial in self._to_run}

    def next(self) -> Trial | None:
        """Return the next trial to run, or None if there are no more trials.

        Raises:
            OSError: The storage fails.
        """
        while not self._to_run and len(self._optuna_trials()) < self.search.trials:
            number, trial = self._propose()
            is_running = bool(self._open_numbers.get(trial.name))
            self._open_numbers.setdefault(trial.name, []).append(number)
            if self._has_records(trial):
                self.complete(trial)
            elif not is_running:
                self._to_run.append(trial)
        retry(self._journal.flush, self._patience)
        return self._to_run.pop(0) if self._to_run else None

    def complete(self, trial: Trial) -> None:
        """Give Optuna the values of the objectives for a trial that has ended.

        If some records of the trial are missing, do nothing.

        Raises:
            OSError: The records cannot be read. The next session reads them again.
        """
        records = self._store.read_records(trial.setting.setting_id, trial.seeds)
        if len(records) < len(trial.seeds) * trial.setting.tasks:
            return  # the trial stopped before it could write all records
        values = objective_values(self.search.objectives, trial.setting, records)
        for number in self._open_numbers.pop(trial.name, ()):
            self.study.tell(number, list(values))
        self._finished |= {trial.setting.run_id(seed) for seed in trial.seeds}
        self._try_save()

    def prune(self, trial: Trial, tasks: int, value: float) -> bool:
        """Return whether to stop a running trial because it is worse than others.

        Optuna decides, by asynchronous successive halving (Li et al. 2018, arXiv
        1810.05934). The journal keeps the values that Optuna compares.

        Args:
            trial: The running trial.
            tasks: The number of finished tasks of the trial.
            value: The objective mean_accuracy of the trial on these tasks.
        """
        numbers = self._open_numbers.get(trial.name)
        if not numbers or tasks not in RUNGS or tasks >= trial.setting.tasks:
            return False
        frozen = self._optuna_trials()[numbers[0]]
        if (frozen.last_step or 0) >= tasks:
            return False  # an earlier session has already judged this value
        # Optuna has no other way to report on a trial of an earlier session
        optuna_trial = optuna.trial.Trial(self.study, frozen._trial_id)
        optuna_trial.report(value, tasks)
        is_pruned = optuna_trial.should_prune()
        if is_pruned:
            for number in self._open_numbers.pop(trial.name):
                self.study.tell(number, state=TrialState.PRUNED)
        self._try_save()
        return is_pruned

    def _propose(self) -> tuple[int, Trial]:
        """Let Optuna propose a trial; return Optuna's number and the trial."""
        number = len(self._optuna_trials())
        random = np.random.SeedSequence([self.search.random_seed, number])
        self.study.sampler = TPESampler(seed=int(random.generate_state(1)[0]))
        optuna_trial = self.study.ask()
        setting = self.search.space.make_setting(
            lambda name, domain: domain.suggest(optuna_trial, name)
        )
        optuna_trial.set_user_attr(SETTING, without_nulls(setting.row()))
        return optuna_trial.number, Trial(setting, self.search.seeds)

    def _optuna_trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _has_records(self, trial: Trial) -> bool:
        return {trial.setting.run_id(seed) for seed in trial.seeds} <= self._finished

    def _try_save(self) -> None:
        with contextlib.suppress(OSError):  # the next flush retries
            self._journal.flush()
