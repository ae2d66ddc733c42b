"""Retry policy: restart a failed trial unless it makes no progress."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ray
from ray import tune

MAX_ERRORS = 3
"""Give a trial up after this many restarts for errors since its last checkpoint."""

MAX_WORKER_DEATHS = 10
"""The same limit for killed workers (preemption, out of memory)."""


class RetryPolicy(tune.Callback):
    """Resets a trial's failure count each time it saves a new checkpoint.

    On preemptible machines a long trial may lose its worker many times; a trial that
    fails again and again at the same task has a bug and is given up.
    """

    def __init__(self) -> None:
        """Start with no checkpoints and no errors."""
        self._saved_tasks: dict[str, int] = {}  # trial -> tasks in its last checkpoint
        self._errors: dict[str, int] = {}  # trial -> errors since that checkpoint

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Reset the counts if there is a new checkpoint."""
        name, saved_tasks = result["name"], result["tasks_saved"]
        if saved_tasks > self._saved_tasks.get(name, 0):
            self._saved_tasks[name], self._errors[name] = saved_tasks, 0
            trial.max_failures = trial.num_failures + MAX_WORKER_DEATHS

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count an error; after the last one allowed, let Tune give the trial up."""
        if _worker_died(trial):
            return
        name = trial.config["trial"]["name"]
        self._errors[name] = self._errors.get(name, 0) + 1
        if self._errors[name] >= MAX_ERRORS:
            trial.max_failures = trial.num_failures


def _worker_died(trial: Any) -> bool:
    """Return whether a trial's last failure was the death of its worker."""
    try:
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:  # not every error can be pickled; Ray's can
        return False
    return isinstance(error, ray.exceptions.RayActorError)
