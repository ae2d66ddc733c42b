"""Compare records with published numbers of other people's experiments.

The published numbers are in `published.csv`, with one row per number: the name of the
publication, the task, the value as a fraction, and its standard error if it is known. A
row without a task has the mean over all tasks. To add a publication, add its numbers to
that file and an entry to `PUBLICATIONS`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd

from analysis.records.runs import Runs, by_setting
from analysis.statistics.intervals import mean_interval, t_quantile

COLUMNS = ("online_accuracy",)
"""The measures that the publications report."""

REPRODUCED, UNDECIDED, DIFFERENT = "yes", "undecided", "no"
"""Whether a published number is reproduced within the tolerance."""


@attrs.frozen(kw_only=True)
class Publication:
    """An experiment with published numbers, and the setting that repeats it."""

    name: str  # the name in `published.csv`
    study: str  # the study that repeats the experiment
    source: str  # the publication, and the figure or table that has the numbers
    method: str  # how the numbers were obtained from the publication
    measure: str  # the column of the records that repeats the numbers
    # All values of the setting that are not null. Without a number of tasks, a shorter
    # stream repeats the first numbers.
    setting: dict[str, Any]
    runs: int  # the number of runs of the publication, each with its own seed
    reading_error: float = 0.0  # the largest error of a number read from a picture
    tolerance: float  # a number is reproduced if the difference is at most this large

    def is_repeated_by(self, setting: dict[str, Any]) -> bool:
        """Return whether a setting of the records repeats the experiment."""
        names = (setting.keys() | self.setting.keys()) - {"tasks"}
        tasks = self.setting.get("tasks", setting["tasks"])
        return setting["tasks"] == tasks and all(
            setting.get(name) == self.setting.get(name) for name in names
        )


ONLINE: dict[str, Any] = {
    "problem": "permuted",
    "dataset": "mnist",
    "epochs": 1,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
}

PUBLICATIONS: dict[str, Publication] = {
    publication.name: publication
    for publication in (
        Publication(
            name="dohare-2024",
            study="dohare-2024",
            source="Dohare et al. 2024, Nature 632, 768-774, Extended Data Figure 3b, "
            "network width 100",
            method="read from the picture of this figure in the authors' repository, "
            "shibhansh/loss-of-plasticity@63c35f3:"
            "lop/permuted_mnist/plots/mnist_accuracy.png",
            measure="online_accuracy",
            setting={**ONLINE, "batch_size": 1, "hidden": "100-100-100", "lr": 0.003},
            runs=30,
            reading_error=0.0004,
            tolerance=0.003,
        ),
        Publication(
            name="kumar-2023",
            study="kumar-2023",
            source="Kumar et al. 2023, arXiv 2308.11958, Table 2, L2 Init, total "
            "online accuracy",
            method="printed in this table",
            measure="online_accuracy",
            setting={
                **ONLINE,
                "tasks": 20,
                "examples": 10_000,
                "batch_size": 16,
                "hidden": "100-100",
                "initialization": "pytorch",
                "input_low": -1.0,
                "lr": 0.001,
                "base": "adam",
                "beta1": 0.9,
                "beta2": 0.999,
                "adam_eps": 1e-8,
                "intervention": "l2_init",
                "init_decay": 0.001,
            },
            runs=5,
            tolerance=0.005,
        ),
    )
}


@functools.cache
def published_numbers(name: str) -> pd.DataFrame:
    """Return the numbers of a publication, in the order of the file.

    The columns are task (NaN: the mean over all tasks), value, and the ends lo and hi
    of the 95% interval. The interval is value ± (t(0.975; runs - 1) * standard error +
    reading error). Its ends are NaN if the standard error is not known.
    """
    publication = PUBLICATIONS[name]
    everything = pd.read_csv(Path(__file__).with_name("published.csv"))
    rows = everything[everything["publication"] == name].reset_index(drop=True)
    half = t_quantile(publication.runs) * rows["standard_error"]
    half += publication.reading_error
    numbers = rows[["task", "value"]].astype(float)
    return numbers.assign(lo=rows["value"] - half, hi=rows["value"] + half)


def repeated_runs(frame: pd.DataFrame) -> list[tuple[Publication, Runs]]:
    """Return each publication with the runs that repeat it, if a run is complete.

    `frame` has records with the columns of `analysis.records.runs.NEEDED` and
    `COLUMNS`.
    """
    return [
        (publication, runs)
        for publication in PUBLICATIONS.values()
        for runs in by_setting(frame, publication.measure)
        if runs.seeds and publication.is_repeated_by(runs.setting)
    ]


def replication(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the published numbers beside the numbers of the runs that repeat them.

    `frame` has records, as in `repeated_runs`.

    Returns:
        One row per number, with the columns

            publication, study, setting_id
            task            NaN: the mean over all tasks
            mean, lo, hi    our number, with the 95% t-interval over the runs
            runs            the number of our runs
            published, published_lo, published_hi, published_runs
            difference      our number minus the published number
            noise           half of the 95% interval of the difference: the root of the
                            sum of squares of the half intervals that are known
            tolerance       see `Publication`
            verdict         REPRODUCED if the difference is within the tolerance,
                            DIFFERENT if its whole 95% interval is outside the
                            tolerance, else UNDECIDED; never DIFFERENT if there is
                            only one run of ours, because its noise is unknown
            near_peak       whether our true number at this task is possibly the
                            largest of all tasks: the 95% interval of the largest number
                            minus this number, paired by seed, reaches 0; None for a
                            mean over all tasks
    """
    parts = []
    first = frame.attrs.get("first_task", 0)
    for publication, runs in repeated_runs(frame):
        numbers = published_numbers(publication.name)
        tasks = numbers["task"] - first
        inside = tasks.isna() | tasks.between(0, runs.matrix.shape[1] - 1)
        kept, tasks = numbers[inside], tasks[inside]
        values = (
            runs.matrix.mean(axis=1) if np.isnan(task) else runs.matrix[:, int(task)]
            for task in tasks
        )
        mean, lo, hi = np.reshape([*map(mean_interval, values)], (-1, 3)).T
        parts.append(
            pd.DataFrame(
                {
                    "near_peak": _near_peak(runs, tasks),
                    "publication": publication.name,
                    "study": runs.study,
                    "setting_id": runs.setting_id,
                    "task": kept["task"],
                    **{"mean": mean, "lo": lo, "hi": hi},
                    "runs": len(runs.seeds),
                    "published": kept["value"],
                    "published_lo": kept["lo"],
                    "published_hi": kept["hi"],
                    "published_runs": publication.runs,
                    "tolerance": publication.tolerance,
                }
            )
        )
    if not parts:
        return pd.DataFrame(columns=list(NAMES))
    data = pd.concat(parts, ignore_index=True)
    data["difference"] = data["mean"] - data["published"]
    halves = [
        (data[hi] - data[lo]).astype(float).fillna(0) / 2
        for lo, hi in (("lo", "hi"), ("published_lo", "published_hi"))
    ]
    data["noise"] = np.hypot(halves[0], halves[1])
    size = data["difference"].abs()
    data["verdict"] = UNDECIDED
    data.loc[size <= data["tolerance"], "verdict"] = REPRODUCED
    outside = size - data["noise"] > data["tolerance"]
    data.loc[outside & data["lo"].notna(), "verdict"] = DIFFERENT
    return data[list(NAMES)]


NAMES = (
    *("publication", "study", "setting_id", "task", "mean", "lo", "hi", "runs"),
    *("published", "published_lo", "published_hi", "published_runs"),
    *("difference", "noise", "tolerance", "verdict", "near_peak"),
)
"""The columns of `replication`."""


def _near_peak(runs: Runs, tasks: pd.Series[float]) -> list[bool | None]:
    """Return the column near_peak of `replication`, with an entry for each task."""
    if tasks.isna().any():
        return [None] * len(tasks)
    values = runs.matrix[:, tasks.astype(int)]
    below = values[:, [values.mean(axis=0).argmax()]] - values
    return list((mean_interval(below).lo <= 0).tolist())
