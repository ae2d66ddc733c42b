"""Where a search stands, from its journal."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.trial import TrialState

from study.plan.rates import clock
from study.results.file_check import StoredRun
from study.results.store import Store
from study.searching.journal import found_study
from study.searching.proposals import SETTING
from trainables.request import Request
from trainables.setting import digest


def with_trials(asked: Request, store: Store) -> Request:
    """Return what was asked for with the settings of the trials, but those stopped.

    Raises:
        UsageError: The journal cannot be read.
        OSError: Storage fails.
    """
    study = found_study(store)
    if study is None or asked.search is None:
        return asked
    seeds = frozenset(asked.search["seeds"])
    rows = [
        trial.user_attrs[SETTING]
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.PRUNED
    ]
    return asked.with_settings({digest(row): row for row in rows}, seeds)


def search_line(
    asked: Request, store: Store, runs: Mapping[str, StoredRun], slots: int
) -> str:
    """Return how many trials have ended, and about how long the rest takes.

    Raises:
        UsageError: The journal cannot be read.
        OSError: Storage fails.
    """
    assert asked.search is not None
    study, wanted = found_study(store), asked.search["trials"]
    states = (
        [trial.state for trial in study.get_trials(deepcopy=False)] if study else []
    )
    early = states.count(TrialState.PRUNED)
    over = states.count(TrialState.COMPLETE) + early
    line = f"search: {over} of {wanted} trials have ended"
    line += f" ({early} of them stopped early)" * bool(early)
    line += f", {states.count(TrialState.RUNNING)} are under way"
    if over >= wanted:
        return line
    seconds = [run.seconds for run in runs.values()]
    if not seconds:
        return f"{line}; time left: not known yet"
    each = sum(seconds) / len(seconds) * len(asked.search["seeds"])
    return f"{line}; time left: about {clock(each * (wanted - over) / slots)}"
