"""Propose the trials of a search with Optuna, and resume after a kill.

The journal has what was proposed, the records have the results, and each is checked
against the other. A proposed trial without records runs again, with the same parameters
and number; a trial with records that Optuna has not been given is only given to it. So
a search that was killed keeps its trials, and ends with as many as were requested.

Optuna's sampler gets its own random numbers for each trial number. A proposal depends
on the number and on the results so far, not on how often the search was killed; with
one trial at a time, on nothing else.
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

REDUCTION = 3
"""One in so many trials passes a rung of successive halving."""

FIRST_RUNG = 3
"""Tasks before the first rung; each further rung is `REDUCTION` times as far."""

RUNGS = frozenset(FIRST_RUNG * REDUCTION**i for i in range(20))
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Proposals:
    """The trials of a search; those that earlier sessions left come first.

    Optuna may propose a setting twice. Its trials then have several numbers, but it
    runs once: the records would be the same.
    """

    def __init__(
        self, search: Search, store: Store, finished: set[str], *, patience: float
    ) -> None:
        """Read what earlier sessions have proposed.

        Args:
            search: The search.
            store: Its results, claimed by this process.
            finished: The run_ids that have all their records.
            patience: Seconds to retry storage.

        Raises:
            UsageError: The journal is damaged, or is another search's.
            OSError: Storage fails.
        """
        self.search, self._store, self._patience = search, store, patience
        self._journal, self.study = retry(lambda: open_search(store, search), patience)
        self.study.pruner = SuccessiveHalvingPruner(FIRST_RUNG, REDUCTION)
        self._finished = set(finished)
        self._to_run: list[Trial] = []
        self._open_numbers: dict[str, list[int]] = {}  # stack -> numbers without result
        for optuna_trial in self._optuna_trials():
            self._resume(optuna_trial)
        retry(self._journal.flush, patience)

    def _resume(self, optuna_trial: FrozenTrial) -> None:
        """Take up a trial that was proposed before."""
        trial = Trial(setting_of(optuna_trial), self.search.seeds)
        if optuna_trial.state == TrialState.RUNNING:
            numbers = self._open_numbers.setdefault(trial.name, [])
            numbers.append(optuna_trial.number)
            if self._has_records(trial):
                self.complete(trial)
            elif len(numbers) == 1:
                self._to_run.append(trial)
        elif optuna_trial.state == TrialState.COMPLETE and not self._has_records(trial):
            # its records are lost; Optuna has its result already
            self._open_numbers.setdefault(trial.name, [])
            if trial not in self._to_run:
                self._to_run.append(trial)

    @property
    def ended(self) -> int:
        """How many trials have ended, at the end of their stream or before."""
        return len(self._optuna_trials(*ENDED))

    @property
    def left(self) -> int:
        """How many trials are left to run, with those whose records are lost."""
        lost = sum(not self._open_numbers[trial.name] for trial in self._to_run)
        return max(0, self.search.trials - self.ended) + lost

    def ended_stacks(self) -> set[str]:
        """Return the stack names of trials that have ended and need not run again."""
        ended = self._optuna_trials(*ENDED)
        names = {Trial(setting_of(old), self.search.seeds).name for old in ended}
        return names - {trial.name for trial in self._to_run}

    def next(self) -> Trial | None:
        """Return the next trial to run; None: all have been proposed.

        Raises:
            OSError: Storage fails.
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
        """Give Optuna the objectives of a trial whose records are written.

        Raises:
            OSError: The records cannot be read now; the next session gives them.
        """
        records = self._store.read_records(trial.setting.setting_id, trial.seeds)
        if len(records) < len(trial.seeds) * trial.setting.tasks:
            return  # stopped while it waited for storage
        values = objective_values(self.search.objectives, trial.setting, records)
        for number in self._open_numbers.pop(trial.name, ()):
            self.study.tell(number, list(values))
        self._finished |= {trial.setting.run_id(seed) for seed in trial.seeds}
        self._try_save()

    def prune(self, trial: Trial, tasks: int, value: float) -> bool:
        """Return whether to stop a running trial, with `value` after so many tasks.

        Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934), by Optuna.
        Its rungs are in the journal, so they survive a kill.
        """
        numbers = self._open_numbers.get(trial.name)
        if not numbers or tasks not in RUNGS or tasks >= trial.setting.tasks:
            return False
        frozen = self._optuna_trials()[numbers[0]]
        if (frozen.last_step or 0) >= tasks:
            return False  # reported before a kill, and not stopped then
        # the only way to report on a trial of an earlier session
        optuna_trial = optuna.trial.Trial(self.study, frozen._trial_id)
        optuna_trial.report(value, tasks)
        is_pruned = optuna_trial.should_prune()
        if is_pruned:
            for number in self._open_numbers.pop(trial.name):
                self.study.tell(number, state=TrialState.PRUNED)
        self._try_save()
        return is_pruned

    def _propose(self) -> tuple[int, Trial]:
        """Have Optuna propose a trial; return its number, too."""
        number = len(self._optuna_trials())
        random = np.random.SeedSequence([self.search.random_seed, number])
        self.study.sampler = TPESampler(seed=int(random.generate_state(1)[0]))
        optuna_trial = self.study.ask()
        setting = self.search.space.make_setting(
            lambda name, domain: domain.suggest(optuna_trial, name)
        )
        row = {k: value for k, value in setting.row().items() if value is not None}
        optuna_trial.set_user_attr(SETTING, row)
        return optuna_trial.number, Trial(setting, self.search.seeds)

    def _optuna_trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _has_records(self, trial: Trial) -> bool:
        return {trial.setting.run_id(seed) for seed in trial.seeds} <= self._finished

    def _try_save(self) -> None:
        with contextlib.suppress(OSError):  # the next proposal retries
            self._journal.flush()
