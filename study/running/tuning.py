"""Run trials with Ray Tune.

Tune schedules, retries and moves trials; it remembers nothing. The results (`Store`)
say what is finished and how far the rest is, so Tune's own folder is temporary.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

# Ray reads these when it is imported: no log files by Tune, and no page-long reports;
# `study.running.stopping` handles signals
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
from study.running.retries import MAX_WORKER_DEATHS, RetryPolicy
from study.running.shares import Shares
from study.running.stopping import stoppable
from trainables.datasets import Dataset
from trainables.options import RunOptions
from trainables.patience import first_line
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError


@attrs.frozen(kw_only=True)
class TrialSource:
    """Trials that are proposed while others run, in place of a fixed list.

    Attributes:
        searcher: Proposes them.
        scheduler: May stop them early; None: all run to their end.
        trainable: What runs them.
    """

    searcher: Searcher
    scheduler: TrialScheduler | None = None
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
    """Run trials and show their progress; return why some failed, by name.

    Args:
        tally: Counts what the trials report; without a source, it has all trials.
        store: Where their records and checkpoints go.
        datasets: By name.
        shares: What each trial gets.
        options: How runs are driven.
        source: Where the trials come from; None: from the tally.

    Raises:
        KeyboardInterrupt: Tune stopped before the end.
    """
    trainable = ContinualTrainable if source is None else source.trainable
    prepared = tune.with_parameters(
        trainable, datasets=dict(datasets), keeper=store, options=options
    )
    # the dashboard shows this name, not that of Tune's wrapper
    prepared.__qualname__ = ContinualTrainable.__qualname__
    configs = [
        trial.config(shares.cpus, shares.gpus) for trial in tally.trials.values()
    ]
    with (
        tempfile.TemporaryDirectory(prefix="plasticity-tune-") as folder,
        only_console_prints(),
        ProgressDisplay(tally) as display,
        stoppable(),
    ):
        tuner = tune.Tuner(
            prepared,
            param_space=None if source else {"trial": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=shares.slots,
                reuse_actors=True,
                search_alg=source.searcher if source else None,
                scheduler=source.scheduler if source else None,
                num_samples=-1 if source else 1,  # -1: until the searcher has no more
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
    if tally.is_stopped(failures):
        raise KeyboardInterrupt
    return failures


def failure_text(error: Exception) -> str:
    """Return why a trial failed in one line, without Ray's wrapping.

    >>> failure_text(FileNotFoundError(2, "No such file", "x"))
    "FileNotFoundError: [Errno 2] No such file: 'x'"
    """
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ray.exceptions.RayActorError):
        return "its worker was killed again and again, or could not start"
    if isinstance(cause, UsageError):
        return str(cause).strip().splitlines()[0]
    return first_line(cause)
