"""Which trial of a search is next: Optuna is asked, told, and reminded after a kill.

The journal says what was proposed, the records what came of it, and neither has to be
believed without the other. A trial that was proposed and has no records is run again,
with the same parameters, under the same number; one that has them is told to Optuna,
if that is all that is missing. So a search that was killed has the trials that it had
before, and goes on until it has as many as were asked for.

Optuna's sampler has random numbers of its own for each number of a trial. What it
proposes depends on that number and on what it has been told so far, and not on how
often the search was killed; with one trial at a time, nor on anything else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from study.plan.trials import Trial
from study.results.files import retry
from study.results.store import Store
from study.searching.journal import open_search
from study.spec.objectives import objective_values
from study.spec.search import Search
from trainables.setting import Setting

ETA = 3
"""Of those that come to a rung, one in so many goes on."""

FIRST_RUNG = 3
"""Tasks before the first rung; each next is `ETA` times as far."""

SETTING = "setting"
"""The attribute of Optuna's trial that has the setting's row."""


class Proposals:
    """The trials of a search, those of earlier sessions first."""

    def __init__(
        self, search: Search, store: Store, tell: Callable[[str], None], patience: float
    ) -> None:
        """Read what was proposed before.

        Args:
            search: What to look for.
            store: Where its journal and records lie, claimed by this process.
            tell: Is told when storage is waited for.
            patience: Seconds to wait for storage that fails.

        Raises:
            UsageError: The journal is damaged, or another search's.
            OSError: Storage fails.
        """
        self.search, self._store = search, store
        self._journal, self.study = open_search(store, search)
        self.study.pruner = SuccessiveHalvingPruner(FIRST_RUNG, ETA)
        self._tell, self._patience = tell, patience
        self._again: list[Trial] = []
        self._numbers: dict[str, list[int]] = {}
        self._done: set[str] = set()

    def resume(self, done: set[str]) -> None:
        """Look at what earlier sessions left.

        Args:
            done: The run_ids that have all their records.

        Raises:
            OSError: Storage fails.
        """
        self._done = set(done)
        for old in self.study.get_trials(deepcopy=False):
            trial = self._trial(Setting.from_row(old.user_attrs[SETTING]))
            if old.state == TrialState.RUNNING:
                mine = self._numbers.setdefault(trial.name, [])
                mine.append(old.number)
                if self._is_done(trial):
                    self.finished(trial)
                elif len(mine) == 1:
                    self._again.append(trial)
            elif old.state == TrialState.COMPLETE and not self._is_done(trial):
                self._numbers.setdefault(trial.name, [])  # it needs no telling
                if trial not in self._again:
                    self._again.append(trial)
        self._keep()

    @property
    def begun(self) -> int:
        """How many trials have been proposed so far."""
        return len(self.study.get_trials(deepcopy=False))

    @property
    def over(self) -> int:
        """How many of them have ended, at the end of their stream or before."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(self.study.get_trials(deepcopy=False, states=states))

    @property
    def left(self) -> int:
        """How many trials are still to be run, with those whose records are lost."""
        told = sum(not self._numbers[trial.name] for trial in self._again)
        return max(0, self.search.trials - self.over) + told

    def ended(self) -> list[str]:
        """Return the names of the trials that have ended, and need not run again."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = self.study.get_trials(deepcopy=False, states=states)
        settings = [Setting.from_row(old.user_attrs[SETTING]) for old in trials]
        names = {self._trial(setting).name for setting in settings}
        return sorted(names - {trial.name for trial in self._again})

    def next(self) -> Trial | None:
        """Return a trial to run; None: there is none left to begin.

        What Optuna proposes twice is not run twice: the records are the same.

        Raises:
            OSError: Storage fails.
        """
        while not self._again:
            if self.begun >= self.search.trials:
                self._keep()
                return None
            number, setting = self._ask()
            trial = self._trial(setting)
            running = bool(self._numbers.get(trial.name))
            self._numbers.setdefault(trial.name, []).append(number)
            if self._is_done(trial):
                self.finished(trial)
            elif not running:
                self._again.append(trial)
        self._keep()
        return self._again.pop(0)

    def finished(self, trial: Trial) -> None:
        """Tell Optuna what a trial whose records are written has come to.

        Raises:
            OSError: The records cannot be read now; the next session tells.
        """
        records = self._store.read_records(trial.setting.setting_id, trial.seeds)
        if len(records) < len(trial.seeds) * trial.setting.tasks:
            return  # it was stopped while it waited for storage
        names = self.search.objectives
        values = objective_values(names, trial.setting, records)
        for number in self._numbers.pop(trial.name, ()):
            self.study.tell(number, list(values))
        self._done |= {trial.setting.run_id(seed) for seed in trial.seeds}
        self._flush()

    def judged(self, trial: Trial, tasks: int, value: float) -> bool:
        """Return whether a trial is to be stopped, and tell Optuna if it is.

        Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934), as Optuna
        does it: its rungs stand in the journal, so that they survive a kill.

        Args:
            trial: One that runs.
            tasks: How many are done.
            value: Its objective on these.
        """
        if not _is_rung(tasks) or tasks >= trial.setting.tasks:
            return False
        numbers = self._numbers.get(trial.name)
        if not numbers:
            return False
        frozen = self.study.get_trials(deepcopy=False)[numbers[0]]
        if (frozen.last_step or 0) >= tasks:
            return False  # it was reported before a kill, and not stopped for it
        # of an earlier session too, for which Optuna has no other way
        asked = optuna.trial.Trial(self.study, frozen._trial_id)
        asked.report(value, tasks)
        stop = bool(asked.should_prune())
        if stop:
            for number in self._numbers.pop(trial.name):
                self.study.tell(number, state=TrialState.PRUNED)
        self._flush()
        return stop

    def _ask(self) -> tuple[int, Setting]:
        """Have Optuna propose a setting; return its trial's number too."""
        random = np.random.SeedSequence([self.search.random_seed, self.begun])
        self.study.sampler = TPESampler(seed=int(random.generate_state(1)[0]))
        asked = self.study.ask()
        setting = self.search.space.settle(
            lambda name, domain: domain.suggest(asked, name)
        )
        asked.set_user_attr(SETTING, known(setting))
        return asked.number, setting

    def _trial(self, setting: Setting) -> Trial:
        return Trial(setting, self.search.seeds)

    def _is_done(self, trial: Trial) -> bool:
        return {trial.setting.run_id(seed) for seed in trial.seeds} <= self._done

    def _keep(self) -> None:
        """Write the journal, however long storage takes."""
        retry(self._journal.flush, self._patience)

    def _flush(self) -> None:
        """Write the journal; where storage fails, the next proposal waits for it."""
        with contextlib.suppress(OSError):
            self._journal.flush()


def known(setting: Setting) -> dict[str, Any]:
    """Return a setting's row without what is not its own."""
    return {name: value for name, value in setting.row().items() if value is not None}


def _is_rung(tasks: int) -> bool:
    rung = FIRST_RUNG
    while rung < tasks:
        rung *= ETA
    return rung == tasks
