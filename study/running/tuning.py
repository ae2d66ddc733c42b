"""Ray Tune's part: start Ray or join a cluster, fan the trials out, survive them.

Tune schedules, retries and moves trials; it does not remember. What is done and how
far the rest is stands with the results (`store`), so Tune's folder is temporary.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

# read by Ray when it is imported: no log files of Tune's own, and no page-long reports
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault(
    "TUNE_DISABLE_SIGINT_HANDLER", "1"
)  # see `study.running.stopping`

import ray
from ray import tune
from rich.console import Console

from study.plan.trials import Trial
from study.results.store import Store
from study.running.nodes import Nodes
from study.running.progress import Reporter, Tally
from study.running.prometheus import Metrics
from study.running.retries import DEATHS, Retries
from study.running.shares import Shares
from study.running.stopping import alone_on_standard_output, stoppable
from trainables.datasets import Dataset
from trainables.trainable import ContinualTrainable
from trainables.usage import UsageError

PATIENCE = 600.0
"""Seconds that a trial waits for storage that fails, before it fails itself."""


@contextlib.contextmanager
def connected(address: str | None, console: Console, study: str = "") -> Iterator[None]:
    """Join the cluster at an address, or the running one, or start a local Ray.

    Args:
        address: Of the cluster.
        console: Where to say where the dashboard is.
        study: What the dashboard calls the job.

    Raises:
        UsageError: There is no cluster at the address.
    """
    where = address or os.environ.get("RAY_ADDRESS") or ""
    _knock(where)
    if not where and (gone := _left_over()):
        address = "local"
        console.print(
            f"The Ray at {gone}, which was started here, is gone: starting one.",
            soft_wrap=True,
        )
    # what Ray and Tune have to say at the end or in an emergency, `failures` says
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    named = {"job_name": f"plasticity study {study}".strip()}
    try:
        context = ray.init(
            address=address,
            job_config=ray.job_config.JobConfig(metadata=named),
            **quiet,
        )
    except (
        ConnectionError,
        ValueError,
        RuntimeError,
        ray.exceptions.RayError,
    ) as error:
        why = reason(error)
        if where and os.environ.get("RAY_AUTH_MODE") != "token":
            why += ": if it asks for a token, set RAY_AUTH_MODE=token"
        raise UsageError(f"no Ray at {where or 'this machine'}: {why}") from error
    try:
        console.print(_dashboard(context.dashboard_url), soft_wrap=True)
        yield
    finally:
        ray.shutdown()


def _dashboard(url: str | None) -> str:
    """Return where the dashboard is, in words; a study goes on without it."""
    if not url:
        return "Ray dashboard: this Ray has none; the study does without it"
    token = os.environ.get("RAY_AUTH_MODE") == "token"
    asks = " (asks for a token: `ray get-auth-token` prints it)" if token else ""
    return f"Ray dashboard: http://{url}{asks}"


def _left_over() -> str | None:
    """Return the address that a Ray which is gone has left behind, if there is one.

    Ray would wait for it for minutes, and say nothing.
    """
    known = ray._private.utils.read_ray_address() or ""
    host, _, port = known.rpartition(":")
    if not port.isdecimal():
        return None
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError):
        return known
    return None


def _knock(address: str) -> None:
    """Refuse an address where nobody answers; Ray would try for minutes.

    Raises:
        UsageError: Nobody answers, or it is Ray's client's.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--address is {address}: Ray's client cannot run a study: give the "
            "command on a node, as by `ray exec` or `ray job submit`"
        )
    found = re.fullmatch(r"\[?(.+?)\]?:(\d{1,5})", address)
    if not found:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray at {address}: {error}: start one there, or leave out --address "
            "and $RAY_ADDRESS for a local Ray"
        ) from error


def run(
    trials: list[Trial],
    store: Store,
    data: Mapping[str, Dataset],
    shares: Shares,
    checkpoint_every: int | None,
    console: Console,
    runs_done: int = 0,
    patience: float = PATIENCE,
    probe_every: int | None = None,
    tasks_found: int = 0,
    look_back: int = 0,
) -> dict[str, str]:
    """Run trials; return why some failed, by their names.

    Args:
        trials: What to run.
        store: Where their records and checkpoints go.
        data: The datasets, by name.
        shares: What each trial gets.
        checkpoint_every: Tasks between checkpoints; None: about once a minute.
        console: Where to say how it goes.
        runs_done: Runs of the study that were done before.
        patience: Seconds that a trial waits for storage that fails.
        probe_every: Tasks between looks at the loss's landscape; None: the default.
        tasks_found: Tasks of the runs that were done before.
        look_back: How many of the tasks before are tested after each.

    Raises:
        KeyboardInterrupt: It was stopped, by Ctrl-C or SIGTERM.
    """
    runs = sum(len(trial.seeds) for trial in trials)
    console.print(
        f"{store.study}: {runs} runs in {len(trials)} trials, {shares.told}",
        soft_wrap=True,
    )
    configs = [trial.config(shares.cpus, shares.gpus) for trial in trials]
    tally = Tally(trials, runs_done, tasks_found)
    outcome = fit(
        ContinualTrainable,
        {
            "datasets": dict(data),
            "keeper": store,
            "checkpoint_every": checkpoint_every,
            "patience": patience,
            "probe_every": probe_every,
            "look_back": look_back,
        },
        tune.TuneConfig(max_concurrent_trials=shares.slots, reuse_actors=True),
        tally,
        console,
        {"trial": tune.grid_search(configs)},
    )
    broken = failures(tally, outcome, console)
    for name, trial in tally.trials.items():
        if tally.tasks_done[name] < trial.setting.tasks and name not in broken:
            raise KeyboardInterrupt
    return broken


def fit(
    trainable: type[ContinualTrainable],
    shared: Mapping[str, Any],
    config: tune.TuneConfig,
    tally: Tally,
    console: Console,
    space: dict[str, Any] | None = None,
) -> tune.ResultGrid:
    """Have Tune run trials, and show how it goes.

    Args:
        trainable: What a trial is.
        shared: What its `setup` is given in every trial.
        config: Which trials, and how many at once.
        tally: Counts what they report.
        console: Where to say how it goes.
        space: The trials' configs, where `config` has no searcher.

    Raises:
        KeyboardInterrupt: Tune could not go on.
    """
    store, slots = shared["keeper"], config.max_concurrent_trials or 1
    prepared = tune.with_parameters(trainable, **shared)
    # the dashboard shows this name, not that of Tune's wrapper
    prepared.__qualname__ = ContinualTrainable.__qualname__
    with (
        tempfile.TemporaryDirectory(prefix="plasticity-tune-") as folder,
        alone_on_standard_output(console),
        Reporter(tally, console) as reporter,
        stoppable(console),
    ):
        tuner = tune.Tuner(
            prepared,
            param_space=space,
            tune_config=config,
            run_config=tune.RunConfig(
                name=store.study,
                storage_path=folder,
                callbacks=[
                    reporter,
                    Retries(),
                    Nodes(store, slots, reporter.say),
                    Metrics(tally, store.study),
                ],
                failure_config=tune.FailureConfig(max_failures=DEATHS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            return tuner.fit()
        except (OSError, EOFError, ray.exceptions.RayError, tune.TuneError) as error:
            # as where its temporary folder's disk is full
            console.print(f"Ray Tune has stopped: {reason(error)}", soft_wrap=True)
            raise KeyboardInterrupt from None


def failures(
    tally: Tally, outcome: tune.ResultGrid, console: Console
) -> dict[str, str]:
    """Say which trials failed and why, and return it by their names."""
    results = [outcome[i] for i in range(len(outcome))]
    broken = {
        (result.config or {})["trial"]["name"]: reason(result.error)
        for result in results
        if result.error
    }
    for name, why in broken.items():
        console.print(f"failed: {tally.trials[name].label}: {why}", soft_wrap=True)
    return broken


def reason(error: Exception) -> str:
    """Return what happened in a trial: the first line, without Ray's wrapping.

    >>> reason(FileNotFoundError(2, "No such file", "x"))
    "FileNotFoundError: [Errno 2] No such file: 'x'"
    """
    inner = getattr(error, "cause", None) or error
    name = [] if isinstance(inner, UsageError) else [type(inner).__name__]
    if isinstance(inner, ray.exceptions.RayActorError):
        return "its worker died again and again, or could not be started"
    return ": ".join(name + str(inner).strip().splitlines()[:1])
