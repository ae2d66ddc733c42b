"""The options of the sweep command, and which of their values are refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import tyro

from study.spec.objectives import parse_objectives
from study.spec.search import Search
from study.spec.studies import Study, changed
from study.spec.study_file import find_study
from trainables import datasets
from trainables.checks import real, whole
from trainables.setting import parse_hidden
from trainables.usage import UsageError, choose

Flag = tyro.conf.FlagCreatePairsOff[bool]
Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Whole = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Real = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]


WHOLE = (
    "tasks",
    "seeds",
    "batch_size",
    "epochs",
    "max_concurrent",
    "checkpoint_every",
    "trials",
    "confirm_seeds",
)
"""The options that are whole numbers, at least 1."""


@dataclass(frozen=True)
class Options:
    """Run a study; what is done already is not run again.

    Attributes:
        study: A study's name (see --list), or a Python file that defines STUDY.
        results: A folder, or a URI as s3://bucket/prefix; the records become Parquet
            files in RESULTS/STUDY/records.
        dataset: mnist, fashion-mnist, kmnist or mnist-5k, in place of the study's.
        data_dir: A folder with the dataset's IDX files, plain or .gz. Without it and
            without $PLASTICITY_DATA they are downloaded, once.
        tasks: Length of each stream.
        seeds: How many seeds, counted from 0.
        hidden: Widths of the hidden layers, as 100-100-100.
        batch_size: Examples per update.
        epochs: Passes over each task's training examples.
        stack: Seeds that a trial trains side by side: auto, or a number.
        cpus_per_trial: CPUs, and threads, of a trial.
        gpus_per_trial: GPUs of a trial, fractions too; by default an equal share of
            one for each trial that the CPUs allow, where there are GPUs.
        max_concurrent: The most trials at once.
        checkpoint_every: Tasks between checkpoints; by default about a minute of work.
        probe_every: Tasks between measurements of sharpness and of what else the
            loss's landscape tells, before a task and after it; by default what the
            study says, or 10; 0: none. First and last task are always measured.
        look_back: After each task, test on so many of the tasks before it too, for
            what is forgotten; by default none.
        patience: Seconds that a trial waits for storage that fails, as a full disk.
        trials: Settings that a search tries.
        objective: What a search seeks: mean_accuracy, plasticity_loss, or both,
            joined by a comma.
        asha: Stop a search's trials that do badly before the end of their stream.
        confirm_seeds: After the study, so many new seeds for the best setting and the
            best SGD of each problem, which the study's own seeds have chosen.
        address: Of a Ray cluster; by default the one that runs, else a local Ray.
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
    cpus_per_trial: float = 1.0
    gpus_per_trial: Real = None
    max_concurrent: Whole = None
    checkpoint_every: Whole = None
    probe_every: Whole = None
    look_back: Whole = None
    patience: float = 600.0
    trials: Whole = None
    objective: Text = None
    asha: Flag = False
    confirm_seeds: Whole = None
    address: Text = None
    dry_run: Flag = False
    list: Flag = False

    def __post_init__(self) -> None:
        """Check what no other object checks."""
        real("--cpus-per-trial", self.cpus_per_trial, above=True)
        if self.gpus_per_trial is not None:
            gpus = real("--gpus-per-trial", self.gpus_per_trial)
            if gpus > 1 and gpus % 1:
                raise UsageError(
                    f"--gpus-per-trial is {gpus:g}: above 1 it must be a whole number"
                )
        real("--patience", self.patience)
        if self.probe_every is not None:
            whole("--probe-every", self.probe_every, 0)
        if self.look_back is not None:
            whole("--look-back", self.look_back, 0)
        for name in WHOLE:
            if getattr(self, name) is not None:
                whole("--" + name.replace("_", "-"), getattr(self, name))
        if self.stack != "auto" and not (self.stack.isdecimal() and int(self.stack)):
            raise UsageError(
                f"--stack is {self.stack!r}: it must be auto or a whole number, "
                "at least 1"
            )

    @property
    def stack_size(self) -> int | None:
        """Seeds per trial; None: to be chosen."""
        return None if self.stack == "auto" else int(self.stack)

    def slots_here(self) -> int:
        """Return how many trials this machine's CPUs take at once."""
        slots = max(1, int((os.cpu_count() or 1) // self.cpus_per_trial))
        return slots if self.max_concurrent is None else min(slots, self.max_concurrent)

    def chosen_study(self) -> Study | Search:
        """Return the study, with what the options change in it.

        Raises:
            UsageError: There is no such study, or a value is wrong.
        """
        study, dataset, objective = find_study(self.study), self.dataset, self.objective
        fields = {
            "dataset": dataset and choose("dataset", dataset, datasets.DATASETS),
            "tasks": self.tasks,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
        }
        hidden = None if self.hidden is None else parse_hidden(self.hidden)
        if isinstance(study, Search):
            if self.stack_size:
                raise UsageError(
                    f"--stack is {self.stack}: a search trains all seeds of a setting "
                    "side by side, leave it out"
                )
            return study.changed(
                seeds=self.seeds,
                trials=self.trials,
                objectives=None if objective is None else parse_objectives(objective),
                asha=self.asha,
                hidden=self.hidden,
                **fields,
            )
        for name in ("trials", "objective", "asha"):
            if getattr(self, name):
                raise UsageError(
                    f"--{name} is for a search, and {study.name} is none: leave it out"
                )
        return changed(study, seeds=self.seeds, hidden=hidden, **fields)
