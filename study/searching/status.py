"""How far a search is, from its journal."""

from __future__ import annotations

from collections.abc import Collection

from optuna.trial import TrialState

from study.plan.machine import format_duration
from study.results.store import Store
from study.searching.journal import SETTING, load_search
from trainables.request import Request
from trainables.setting import digest


def add_trials(request: Request, store: Store) -> Request:
    """Return a search's request with the settings of its trials, but the pruned ones.

    Raises:
        UsageError: The journal is damaged.
        OSError: Storage fails.
    """
    study = load_search(store)
    if study is None or request.search is None:
        return request
    rows = {
        digest(trial.user_attrs[SETTING]): trial.user_attrs[SETTING]
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.PRUNED
    }
    return request.with_settings(rows, request.search["seeds"])


def search_line(
    request: Request, store: Store, run_seconds: Collection[float], slots: int
) -> str:
    """Return how many trials have ended, and about how long the rest takes.

    Args:
        request: A search's.
        store: Its results.
        run_seconds: Training time of each finished run.
        slots: Concurrent trials.

    Raises:
        UsageError: The journal is damaged.
        OSError: Storage fails.
    """
    assert request.search is not None
    study, total = load_search(store), request.search["trials"]
    trials = study.get_trials(deepcopy=False) if study else []
    states = [trial.state for trial in trials]
    pruned = states.count(TrialState.PRUNED)
    ended = states.count(TrialState.COMPLETE) + pruned
    line = f"search: {ended} of {total} trials have ended"
    if pruned:
        line += f" ({pruned} of them stopped early)"
    line += f", {states.count(TrialState.RUNNING)} have started"
    if ended >= total:
        return line
    if not run_seconds:
        return f"{line}; time left: unknown"
    per_trial = sum(run_seconds) / len(run_seconds) * len(request.search["seeds"])
    left = format_duration(per_trial * (total - ended) / slots)
    return f"{line}; time left: about {left}"
