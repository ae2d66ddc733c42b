"""What Ray adds: the time of many trials that train almost nothing."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import pandas as pd
from ray import tune

from study.plan.trials import Trial
from study.results.store import Store
from study.running.connection import connected
from study.running.progress import Tally
from study.running.shares import Shares, share_out
from study.running.tuning import run_trials
from trainables.data import datasets
from trainables.optimizers import SGD
from trainables.problems import Pairwise
from trainables.setting import RunOptions, Setting


class EmptyTrainable(tune.Trainable):
    """Does nothing, once: the floor of Ray."""

    def step(self) -> dict[str, Any]:
        """Finish."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept the next trial."""
        return True


def time_ray(trials: int) -> dict[str, float]:
    """Return seconds per trial above its training, of an empty trial, and per report.

    A trial is one run of one task of one step. The cost of a report is what a further
    task adds above its training.
    """
    with connected(None, "benchmark"):
        shares = share_out(cpus=1.0, gpus=0.0, max_concurrent=None)
        start = time.perf_counter()
        _run_empty_trials(trials, shares.slots)
        floor = (time.perf_counter() - start) / trials
        one_task = _seconds_above_training(trials, 1, shares)
        more_tasks = _seconds_above_training(trials, 11, shares)
    return {
        "per_trial": one_task / trials,
        "floor": floor,
        "per_report": (more_tasks - one_task) / (10 * trials),
    }


def _run_empty_trials(trials: int, slots: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            EmptyTrainable,
            param_space={"i": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=slots, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()


def _seconds_above_training(trials: int, tasks: int, shares: Shares) -> float:
    """Return the time of a study of tiny trials without the time of their tasks."""
    settings = [
        Setting(
            problem=Pairwise(),
            optimizer=SGD(lr=(i + 1) / trials),
            dataset="mnist-5k",
            tasks=tasks,
            batch_size=1000,
            hidden=(1,),
        )
        for i in range(trials)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, f"tiny-{tasks}")
        start = time.perf_counter()
        run_trials(
            Tally([Trial(setting, (0,)) for setting in settings]),
            store=store,
            datasets={"mnist-5k": datasets.load("mnist-5k")},
            shares=shares,
            options=RunOptions(),
        )
        seconds = time.perf_counter() - start
        records = pd.read_parquet(f"{store.location()}/records", columns=["seconds"])
    return seconds - float(records["seconds"].sum()) / shares.slots
