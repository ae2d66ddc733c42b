"""Run trials with Ray Tune.

Tune schedules trials, retries them and moves them between nodes. Only the results
(`Store`) keep the progress between sessions, so Tune's folder is temporary.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Ray reads these variables when it is imported. They turn off Tune's log files, its
# page-long reports, and its handler of SIGINT, which `stoppable` replaces.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")

import attrs
import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.console import only_console_prints, say
from study.results.store import Store
from study.running.nodes import NodeWatcher
from study.running.progress import ProgressDisplay, Tally
from study.running.prometheus import Metrics
from study.running.shares import Shares
from trainables.data import Dataset
from trainables.patience import first_line
from trainables.setting import RunOptions
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError

MAX_ERRORS = 3
"""Give a trial up after this many restarts for errors since its last checkpoint."""

MAX_WORKER_DEATHS = 10
"""The same limit for restarts because a worker was killed (preemption, no memory)."""

GRACE = 10.0
"""Seconds after Ctrl-C in which the trials must finish and save their current task."""


@attrs.frozen(kw_only=True)
class TrialSource:
    """Proposes trials while other trials run, instead of a fixed list of trials."""

    searcher: Searcher  # proposes trials
    scheduler: TrialScheduler | None = None  # stops trials early
    trainable: type[ContinualTrainable] = ContinualTrainable


def run_trials(
    tally: Tally,
    *,
    store: Store,
    datasets: Mapping[str, Dataset],
    shares: Shares,
    options: RunOptions,
    source: TrialSource | None = None,
) -> dict[str, str]:
    """Run trials and show their progress; return the errors by name of the trial.

    Args:
        tally: Receives the reports of the trials. If `source` is None, the trials of
            `tally` are run.
        store: The place for the records and the checkpoints.
        datasets: The datasets by name.
        shares: The CPUs and GPUs of each trial.
        options: The options of all runs.
        source: Proposes the trials, or None.

    Raises:
        KeyboardInterrupt: A signal or an error stopped Tune before the end.
    """
    prepared = tune.with_parameters(
        source.trainable if source else ContinualTrainable,
        datasets=dict(datasets),
        keeper=store,
        options=options,
    )
    # the dashboard shows this name instead of the name of Tune's wrapper
    prepared.__qualname__ = ContinualTrainable.__qualname__
    trials = tally.trials.values()
    configs = [trial.config(shares.cpus, shares.gpus) for trial in trials]
    with (
        tempfile.TemporaryDirectory(prefix="plasticity-tune-") as folder,
        only_console_prints(),
        ProgressDisplay(tally) as display,
        stoppable() as stop_requested,
    ):
        tuner = tune.Tuner(
            prepared,
            param_space=None if source else {"trial": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=shares.slots,
                reuse_actors=True,
                search_alg=source.searcher if source else None,
                scheduler=source.scheduler if source else None,
                num_samples=-1 if source else 1,  # -1: all that the searcher proposes
            ),
            run_config=tune.RunConfig(
                name=store.study,
                storage_path=folder,
                callbacks=[
                    display,
                    RetryPolicy(),
                    NodeWatcher(store, shares.slots),
                    Metrics(tally, store.study),
                ],
                failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            results = tuner.fit()
        except (OSError, EOFError, ray.exceptions.RayError, tune.TuneError) as error:
            # the disk of the temporary folder may be full
            say(f"Ray Tune has stopped: {failure_text(error)}")
            raise KeyboardInterrupt from None
    failures = {
        (result.config or {})["trial"]["name"]: failure_text(result.error)
        for result in (results[i] for i in range(len(results)))
        if result.error
    }
    for name, text in failures.items():
        say(f"Failed: {tally.trials[name].label}: {text}")
    if stop_requested.is_set():
        raise KeyboardInterrupt
    return failures


def failure_text(error: Exception) -> str:
    """Return one line that says why a trial failed, without Ray's wrapper.

    >>> failure_text(FileNotFoundError(2, "No such file", "x"))
    "FileNotFoundError: [Errno 2] No such file: 'x'"
    """
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ray.exceptions.RayActorError):
        return "the trial's worker was killed repeatedly or could not start"
    if isinstance(cause, UsageError):
        return str(cause).strip().splitlines()[0]
    return first_line(cause)


class RetryPolicy(tune.Callback):
    """Resets a trial's failure count each time the trial saves a new checkpoint.

    On preemptible machines, a long trial may lose its worker many times and still
    progress. But a trial that always fails at the same task has a bug and is given up.
    """

    def __init__(self) -> None:
        """Start with no checkpoints and no errors."""
        self._saved_tasks: dict[str, int] = {}  # trial -> tasks in its last checkpoint
        self._errors: dict[str, int] = {}  # trial -> errors since that checkpoint

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        """Reset the failure count if the trial has saved a new checkpoint."""
        name, saved_tasks = result["name"], result["tasks_saved"]
        if saved_tasks > self._saved_tasks.get(name, 0):
            self._saved_tasks[name], self._errors[name] = saved_tasks, 0
            trial.max_failures = trial.num_failures + MAX_WORKER_DEATHS

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: Any
    ) -> None:
        """Count an error; after `MAX_ERRORS` errors, make Tune stop retrying."""
        with contextlib.suppress(Exception):  # some errors are not pickled; Ray's are
            error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
            if isinstance(error, ray.exceptions.RayActorError):  # the worker was killed
                return
        name = trial.config["trial"]["name"]
        self._errors[name] = self._errors.get(name, 0) + 1
        if self._errors[name] >= MAX_ERRORS:
            trial.max_failures = trial.num_failures


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Let SIGINT or SIGTERM stop Tune after the current task of each trial.

    The first signal sets the event that the context yields. A second signal, or the end
    of `GRACE` seconds, stops Tune at once. The last checkpoints remain.
    """
    requested = threading.Event()
    interrupt = threading.Timer(GRACE, os.kill, (os.getpid(), signal.SIGINT))
    # a signal to the whole process group also ends Ray; then Tune would wait for ever
    force = threading.Timer(1.5 * GRACE, os._exit, (128 + signal.SIGINT,))
    interrupt.daemon = force.daemon = True

    def stop(signum: int, frame: object) -> None:
        # Tune handles SIGUSR1 only while it runs
        if requested.is_set() or not callable(signal.getsignal(signal.SIGUSR1)):
            raise KeyboardInterrupt
        requested.set()
        say("Stopping. Progress is saved; run the same command to resume.")
        interrupt.start()
        force.start()
        os.kill(os.getpid(), signal.SIGUSR1)

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield requested
    finally:
        interrupt.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)
