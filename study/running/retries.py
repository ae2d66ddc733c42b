"""How often a trial is started again: Tune's own count, anew after each progress."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ray
from ray import tune

RETRIES = 3
"""How often a trial that failed is started again with nothing kept in between."""

DEATHS = 10
"""How often one whose worker was killed is; which seldom is the trial's own fault."""


class Retries(tune.Callback):
    """Counts a trial's failures anew whenever it has kept more than before.

    On machines that come and go a long trial may lose its worker any number of times;
    one that fails at the same place again and again is given up.
    """

    def __init__(self) -> None:
        """Begin with nothing kept."""
        self._kept: dict[str, int] = {}
        self._errors: dict[str, int] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Look at what a trial has kept."""
        name, kept = result["name"], result["tasks_kept"]
        if kept > self._kept.get(name, 0):
            self._kept[name], self._errors[name] = kept, 0
            trial.max_failures = trial.num_failures + DEATHS

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Let the next failure be the last, if there were enough."""
        if _died(trial):
            return
        name = trial.config["trial"]["name"]
        self._errors[name] = self._errors.get(name, 0) + 1
        if self._errors[name] >= RETRIES:
            trial.max_failures = trial.num_failures


def _died(trial: Any) -> bool:
    """Tell whether a trial's last failure was its worker's death."""
    try:
        # Tune's own copy: the one in its storage may be half-written
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:  # it cannot always be pickled; then it is no error of Ray's
        return False
    return isinstance(error, ray.exceptions.RayActorError)
