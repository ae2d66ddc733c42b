"""What Ray adds: the wall time of many trials with almost nothing in them."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from ray import tune

from study.plan.trials import Trial
from study.results.store import Store
from study.running.connection import connected
from study.running.progress import Tally
from study.running.shares import Shares, share_out
from study.running.tuning import run_trials
from trainables import datasets
from trainables.optimizers import SGD
from trainables.options import RunOptions
from trainables.problems import Pairwise
from trainables.setting import Setting


class Nothing(tune.Trainable):
    """A trainable that does nothing, once: Ray's own floor."""

    def step(self) -> dict[str, Any]:
        """Return at once."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Be ready for the next trial."""
        return True


def measure(trials: int) -> dict[str, float]:
    """Return seconds a trial above its own training, Ray's floor, and a report's cost.

    Each trial is one run of one task of one step; a report's cost is what a task more
    adds above its training.
    """
    data = {"mnist-5k": datasets.load("mnist-5k")}
    with connected(None):
        shares = share_out(cpus=1.0, gpus=0.0, max_concurrent=None)
        started = time.perf_counter()
        _fit_nothing(trials, shares.slots)
        floor = (time.perf_counter() - started) / trials
        spent = {}
        for tasks in (1, 11):
            spent[tasks] = _above_training(trials, tasks, data, shares)
    more = (spent[11] - spent[1]) / (10 * trials)
    return {"per_trial": spent[1] / trials, "floor": floor, "per_report": more}


def _fit_nothing(trials: int, slots: int) -> None:
    """Run trials of the trainable that does nothing, as a sweep runs its own."""
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            Nothing,
            param_space={"i": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=slots, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()


def _above_training(
    trials: int,
    tasks: int,
    data: dict[str, datasets.Dataset],
    shares: Shares,
) -> float:
    """Return the wall time of a study of tiny trials less that of its tasks."""
    import pandas as pd

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
        started = time.perf_counter()
        run_trials(
            Tally([Trial(setting, (0,)) for setting in settings]),
            store=store,
            datasets=data,
            shares=shares,
            options=RunOptions(),
        )
        spent = time.perf_counter() - started
        seconds = pd.read_parquet(f"{store.location()}/records", columns=["seconds"])
    return spent - float(seconds["seconds"].sum()) / shares.slots
