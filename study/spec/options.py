"""The options of the sweep command, and their valid values."""

from __future__ import annotations

import os
from typing import Annotated

import attrs
import tyro

from study.console import FLOAT, INT, Flag, Real, Text, Whole
from study.spec.objectives import parse_objectives
from study.spec.search import Search
from study.spec.studies import Study
from study.spec.study_file import find_study
from trainables.hyperparameter import check_real, check_whole
from trainables.setting import RunOptions
from trainables.usage import UsageError

LEAST = {
    **dict.fromkeys(("tasks", "seeds", "batch_size", "epochs", "max_concurrent"), 1),
    **dict.fromkeys(("checkpoint_every", "trials", "confirm_seeds"), 1),
    **dict.fromkeys(("landscape_every", "look_back"), 0),
}
"""The options that are whole numbers, and the least value of each."""


@attrs.frozen
class SweepOptions:
    """Run a study; skip runs that are finished.

    Attributes:
        study: A study's name (see --list), or a Python file that defines STUDY.
        results: A folder, or a URI as s3://bucket/prefix; the records become Parquet
            files in RESULTS/STUDY/records.
        dataset: mnist, fashion-mnist, kmnist or mnist-5k, instead of the study's.
        data_dir: A folder with the dataset's IDX files, plain or .gz. Without it and
            without $PLASTICITY_DATA they are downloaded, once.
        tasks: Length of each stream.
        seeds: How many seeds, from 0.
        hidden: Widths of the hidden layers, as 100-100-100.
        batch_size: Examples per update.
        epochs: Passes over each task's training examples.
        stack: Seeds that a trial trains side by side: auto, or a number.
        cpus_per_trial: CPUs, and threads, per trial.
        gpus_per_trial: GPUs per trial, also fractions; by default the GPUs, where there
            are any, are shared equally among the trials that the CPUs allow.
        max_concurrent: Most concurrent trials.
        checkpoint_every: Tasks between checkpoints; by default about a minute of work.
        landscape_every: Tasks between measurements of the loss landscape (sharpness and
            the like), before and after the task; 0: none. By default the study says.
            The first and the last task are always measured.
        look_back: After each task, test on this many of the previous tasks too, to
            measure forgetting.
        patience: Seconds that a trial retries storage that fails, as a full disk.
        trials: Settings that a search tries.
        objective: Objective of a search: mean_accuracy, plasticity_loss, or both,
            joined by a comma.
        asha: Stop bad trials of a search before the end of their stream.
        confirm_seeds: After the study, run the best setting and the best SGD of each
            problem with this many new seeds: the study's seeds chose them, so they
            flatter them.
        address: Address of a Ray cluster; by default the running one, else a local Ray.
        dry_run: Show what would run and what it costs; start and write nothing.
        list: List the studies.
    """

    study: tyro.conf.Positional[str] = "quickstart"
    results: str = "results"
    dataset: Text = None
    data_dir: Text = None
    tasks: Whole = None
    seeds: Whole = None
    hidden: Text = None
    batch_size: Whole = None
    epochs: Whole = None
    stack: str = "auto"
    cpus_per_trial: Annotated[float, FLOAT] = 1.0
    gpus_per_trial: Real = None
    max_concurrent: Whole = None
    checkpoint_every: Whole = None
    landscape_every: Whole = None
    look_back: Annotated[int, INT] = 0
    patience: Annotated[float, FLOAT] = RunOptions().patience
    trials: Whole = None
    objective: Text = None
    asha: Flag = False
    confirm_seeds: Whole = None
    address: Text = None
    dry_run: Flag = False
    list: Flag = False

    def __attrs_post_init__(self) -> None:
        """Check the values: raise a UsageError."""
        for name, low in LEAST.items():
            if (value := getattr(self, name)) is not None:
                check_whole("--" + name.replace("_", "-"), value, low)
        check_real("--cpus-per-trial", self.cpus_per_trial, exclude_low=True)
        check_real("--patience", self.patience)
        gpus = check_real("--gpus-per-trial", self.gpus_per_trial or 0)
        if gpus > 1 and gpus % 1:
            raise UsageError(
                f"--gpus-per-trial is {gpus:g}: above 1 it must be a whole number"
            )
        if self.stack != "auto" and not (self.stack.isdecimal() and int(self.stack)):
            raise UsageError(
                f"--stack is {self.stack!r}: it must be auto or a whole number, "
                "at least 1"
            )

    @property
    def stack_size(self) -> int | None:
        """Seeds per trial; None: automatic."""
        return None if self.stack == "auto" else int(self.stack)

    @property
    def local_slots(self) -> int:
        """Concurrent trials that this machine's CPUs allow."""
        slots = max(1, int((os.cpu_count() or 1) // self.cpus_per_trial))
        return min(slots, self.max_concurrent or slots)

    def run_options(self, study: Study | Search) -> RunOptions:
        """Return how the runs of a study are driven."""
        every = self.landscape_every
        return RunOptions(
            checkpoint_every=self.checkpoint_every,
            patience=self.patience,
            landscape_every=study.landscape_every if every is None else every,
            look_back=self.look_back,
        )

    def load_study(self) -> Study | Search:
        """Return the study, modified by the options.

        Raises:
            UsageError: There is no such study, or an option does not go with it.
        """
        study = find_study(self.study)
        names = ("seeds", "dataset", "tasks", "batch_size", "epochs", "hidden")
        changes = {name: getattr(self, name) for name in names}
        if isinstance(study, Study):
            for name in ("trials", "objective", "asha"):
                if getattr(self, name):
                    raise UsageError(
                        f"--{name} is for a search, which {study.name} is not: leave "
                        "it out"
                    )
            return study.modify(**changes)
        if self.stack_size:
            raise UsageError(
                f"--stack is {self.stack}: a search trains all seeds of a setting side "
                "by side, leave it out"
            )
        return study.modify(
            trials=self.trials,
            objectives=self.objective and parse_objectives(self.objective),
            asha=self.asha or None,
            **changes,
        )
