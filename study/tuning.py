"""Ray Tune's part: start Ray or join a cluster, fan the trials out, survive them.

Tune schedules, retries and moves trials; it does not remember. What is done and how
far the rest is stands with the results (`study.store`), so Tune's folder is temporary.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# read by Ray when it is imported: no log files of Tune's own, and no page-long reports
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from rich.console import Console

from study.plan import Trial
from study.progress import Reporter, Tally
from study.store import Store
from trainables.command_line import UsageError
from trainables.datasets import Dataset
from trainables.trainable import ContinualTrainable

RETRIES = 3
"""How often a trial that failed is started again, from its last checkpoint."""


@dataclass(frozen=True)
class Shares:
    """What a trial gets, and how many of them run at once.

    Attributes:
        cpus: CPUs per trial.
        gpus: GPUs per trial, a fraction where several share one; 0: none.
        slots: How many trials run at once.
    """

    cpus: float
    gpus: float
    slots: int


@contextlib.contextmanager
def connected(address: str | None, console: Console) -> Iterator[None]:
    """Join the cluster at an address, or the running one, or start a local Ray.

    Raises:
        UsageError: There is no cluster at the address.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        context = ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"no Ray at {address or 'this machine'}: {reason}") from error
    try:
        if context.dashboard_url:
            console.print(f"Ray dashboard: http://{context.dashboard_url}")
        yield
    finally:
        ray.shutdown()


def shares(cpus: float, gpus: float | None, most: int | None) -> Shares:
    """Return what each trial gets of what Ray has.

    Raises:
        UsageError: A trial asks for more than there is.
    """
    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    all_cpus, all_gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    slots = int(all_cpus // cpus)
    if most is not None:
        slots = min(slots, most)
    if gpus is None:
        gpus = min(1.0, all_gpus / slots) if slots and all_gpus else 0.0
    for kind, asked, there in (("cpu", cpus, all_cpus), ("gpu", gpus, all_gpus)):
        if asked > there:
            raise UsageError(
                f"--{kind}s-per-trial is {asked:g}, but Ray has {there:g}: ask for less"
            )
    if gpus:
        slots = min(slots, int(all_gpus / gpus + 1e-9))
    return Shares(cpus, gpus, max(1, slots))


def run(
    trials: list[Trial],
    store: Store,
    data: Mapping[str, Dataset],
    shares: Shares,
    checkpoint_every: int | None,
    console: Console,
    runs_done: int = 0,
) -> int:
    """Run trials; return 0, 1 if some failed, 130 if it was stopped."""
    runs = sum(len(trial.seeds) for trial in trials)
    console.print(
        f"{store.study}: {runs} runs in {len(trials)} trials, "
        f"{shares.slots} at once ({shares.cpus:g} CPU, {shares.gpus:g} GPU each)"
    )
    trainable = tune.with_parameters(
        ContinualTrainable,
        datasets=dict(data),
        keeper=store,
        checkpoint_every=checkpoint_every,
    )
    configs = [trial.config(shares.cpus, shares.gpus) for trial in trials]
    tally = Tally(trials, runs_done)
    with (
        tempfile.TemporaryDirectory(prefix="plasticity-tune-") as folder,
        Reporter(tally, console) as reporter,
        terminated_like_interrupted(),
    ):
        tuner = tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=shares.slots, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name=store.study,
                storage_path=folder,
                callbacks=[reporter],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        outcome = tuner.fit()
    return _conclude(tally, outcome, console)


def _conclude(tally: Tally, outcome: tune.ResultGrid, console: Console) -> int:
    """Say what failed and what is left; return the exit code."""
    results = [outcome[i] for i in range(len(outcome))]
    broken = {
        (result.config or {})["trial"]["name"]: result.error
        for result in results
        if result.error
    }
    for name, error in broken.items():
        trial = tally.trials[name]
        row = trial.setting.row()
        console.print(
            f"failed: {row['problem']} {row['optimizer']} lr={row['lr']:g}, seeds "
            f"{', '.join(map(str, trial.seeds))}: {_first_line(error)}",
            highlight=False,
            soft_wrap=True,
        )
    left = [
        name
        for name, trial in tally.trials.items()
        if tally.tasks_done[name] < trial.setting.tasks and name not in broken
    ]
    if left:
        count = sum(len(tally.trials[name].seeds) for name in left)
        console.print(
            f"Stopped; {count} runs are left. What is done is kept: "
            "give the same command again to go on."
        )
        return 130
    return 1 if broken else 0


def _first_line(error: Exception) -> str:
    """Return the line of an error from a trial that says what happened."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, which Tune stops cleanly on."""

    def interrupt(signum: int, frame: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
