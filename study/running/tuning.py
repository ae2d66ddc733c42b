"""Run trials with Ray Tune.

Tune schedules trials, retries failed trials and moves trials between nodes. The
progress is saved with the results (`Store`), so Tune's own folder is temporary.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Ray reads these variables during its import. They turn off Tune's log files, Tune's
# long reports, and Tune's handler of SIGINT, which `stoppable` replaces.
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
from trainables.patience import first_line, message_line
from trainables.setting import RunOptions
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError

MAX_ERRORS = 3  # the most restarts of a trial after errors, between two checkpoints
# what torch says if the memory of a GPU is full
OUT_OF_MEMORY = re.compile(r"CUDA.*out of memory|_ALLOC_FAILED", re.IGNORECASE)
MAX_WORKER_DEATHS = 10  # the same for any reason, such as preemption or full memory

GRACE = 10.0  # seconds that trials have after Ctrl-C to finish and save their task


@attrs.frozen(kw_only=True)
class TrialSource:
    """What proposes and stops the trials of a search while other trials run."""

    searcher: Searcher | None = None  # proposes new trials; None for a fixed list
    scheduler: TrialScheduler | None = None  # stops bad trials early
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
    """Run trials with Ray Tune and show their progress; return the trials' errors.

    The result has the error of each failed trial, by the name of the trial.

    Args:
        tally: Counts the progress of the trials. Without a `source`, the trials in
            `tally` run.
        store: The store for the records and the checkpoints.
        datasets: The datasets, by name.
        shares: The CPUs and GPUs of each trial, and the number of concurrent trials.
        options: The options of all runs.
        source: Proposes the trials of a search.

    Raises:
        KeyboardInterrupt: Tune stopped early, because of a signal or an error.
    """
    source = source or TrialSource()
    prepared = tune.with_parameters(
        source.trainable, datasets=dict(datasets), keeper=store, options=options
    )
    # Ray's dashboard shows this name; without it, the dashboard shows Tune's wrapper
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
            param_space=(
                None if source.searcher else {"trial": tune.grid_search(configs)}
            ),
            tune_config=tune.TuneConfig(
                max_concurrent_trials=shares.slots,
                reuse_actors=True,
                search_alg=source.searcher,
                scheduler=source.scheduler,
                # -1: run all trials that the searcher proposes
                num_samples=-1 if source.searcher else 1,
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
            # for example, the disk that has Tune's temporary folder is full
            say(f"Ray Tune failed: {failure_text(error)}")
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
    """Return one line that describes the error of a trial, which Ray has wrapped.

    >>> failure_text(FileNotFoundError(2, "No such file", "x"))
    "FileNotFoundError: [Errno 2] No such file: 'x'"
    >>> failure_text(UsageError())
    'UsageError'
    """
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ray.exceptions.RayActorError):
        return "the trial's worker process was killed repeatedly or could not start"
    if isinstance(cause, UsageError):
        return message_line(cause)
    return first_line(cause)


class RetryPolicy(tune.Callback):
    """Resets a trial's failure count each time the trial saves a new checkpoint.

    On preemptible machines, the worker process of a long trial can be killed many
    times, but the trial still makes progress. A trial that always fails at the same
    task has a bug. So Tune stops retrying such a trial.
    """

    def __init__(self) -> None:
        """Start without known checkpoints and errors."""
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
        """Count an error of a trial that restarts, unless its worker was killed.

        After `MAX_ERRORS` errors since the last checkpoint, Tune does not retry the
        next failure.
        """
        # an error that cannot be unpickled does not come from a killed worker: count it
        with contextlib.suppress(Exception):
            error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
            if isinstance(error, ray.exceptions.RayActorError):  # the worker was killed
                return
            if OUT_OF_MEMORY.search(str(error)):  # only a smaller trial can run
                trial.max_failures = trial.num_failures
        name = trial.config["trial"]["name"]
        self._errors[name] = self._errors.get(name, 0) + 1
        if self._errors[name] >= MAX_ERRORS:
            trial.max_failures = trial.num_failures


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Let SIGINT or SIGTERM stop Tune after the current task of each trial.

    The context yields an event, which the first signal sets. If a second signal comes,
    or `GRACE` seconds pass, Tune stops immediately. In every case the last saved
    checkpoints remain.
    """
    requested = threading.Event()
    interrupt = threading.Timer(GRACE, os.kill, (os.getpid(), signal.SIGINT))
    # If the signal goes to the whole process group, Ray ends too, and Tune would wait
    # forever. Therefore `force` ends this process.
    force = threading.Timer(1.5 * GRACE, os._exit, (128 + signal.SIGINT,))
    interrupt.daemon = force.daemon = True

    def stop(signum: int, frame: object) -> None:
        # Tune installs a handler of SIGUSR1 only while Tune runs
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
