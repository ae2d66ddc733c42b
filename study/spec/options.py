"""The options of the command `python -m study.sweep`, and their valid values."""

from __future__ import annotations

import os
from typing import Annotated

import attrs
import tyro

from study.console import FLOAT, INT, Flag, Real, Text, Whole
from study.spec.search import Search
from study.spec.studies import Study
from study.spec.study_file import find_study
from trainables.hyperparameter import check_real, check_whole, hyperparameters
from trainables.learners import LEARNERS
from trainables.networks import NETWORKS, Architecture
from trainables.setting import RunOptions
from trainables.usage import UsageError, choose

LEAST = {
    **dict.fromkeys(("tasks", "seeds", "batch_size", "epochs", "max_concurrent"), 1),
    **dict.fromkeys(("checkpoint_every", "trials", "confirm_seeds"), 1),
    **dict.fromkeys(("landscape_every", "look_back"), 0),
}
"""The smallest valid value of each option that is a whole number."""


@attrs.frozen
class SweepOptions:
    """Run a study, and skip the runs that are already finished.

    Attributes:
        study: The name of a study (see --list), or a Python file that defines STUDY.
        results: The folder for the results, or a URI such as s3://bucket/prefix. The
            records are Parquet files in RESULTS/STUDY/records.
        dataset: The dataset, for example mnist-5k, fashion-mnist or cifar-10
            (docs/streams.md). By default, the study chooses it.
        data_dir: The folder with the dataset's files. The default is $PLASTICITY_DATA.
            If neither is given, the files are downloaded once.
        tasks: The number of tasks in each run. By default, the study sets this number.
        seeds: The number of seeds. For example, 3 gives the seeds 0, 1 and 2.
        network: The architecture of the networks: mlp, conv, resnet18 or vit.
        conv_channels: With --network conv, the numbers of channels of its convolutions,
            for example 8-16-32.
        hidden: The widths of the dense hidden layers, for example 100-100-100. With
            --network, the default widths are those of this network.
        learner: How a network that chooses actions learns. The only value is dqn
            (docs/control.md). By default, the study chooses.
        batch_size: The number of training examples in each update of the weights.
        epochs: How many times each task's training examples are used.
        stack: The number of seeds that one trial trains together, or auto.
        cpus_per_trial: The CPUs of each trial. A trial also uses this many threads.
        gpus_per_trial: The GPUs of each trial, for example 0.25. By default, the trials
            that the CPUs can run at once share all GPUs equally. If settings can train
            together, at most two trials share a GPU.
        max_concurrent: The largest number of trials that run at once.
        checkpoint_every: The number of tasks between two checkpoints. By default, a
            trial saves a checkpoint about once a minute.
        landscape_every: The number of tasks between two measurements of the loss
            landscape (sharpness etc.). By default, the study sets this number. The
            first and the last task are also measured. With 0, no task is measured.
        look_back: After each task, also test the network on this many of the previous
            tasks, to measure forgetting.
        patience: If the storage fails (for example, the disk is full), a trial retries
            for this many seconds.
        trials: The number of settings that a search tries.
        objective: What a search optimizes: mean_accuracy, late_accuracy,
            plasticity_loss, or two of them, such as mean_accuracy,plasticity_loss. In
            a problem without accuracy, mean_accuracy is the mean of the problem's
            measure, for example the return.
        asha: In a search, stop bad trials before their last task.
        confirm_seeds: After the study, run some settings of each problem with this many
            new seeds: the best setting of each method, and the best SGD setting if
            there is one. The results of these settings on the study's own seeds are too
            good, because these seeds were used to choose the settings.
        refine: Look for the best setting of each method in a race. Settings that are
            clearly worse than another setting stop early. The other settings run with
            up to twice as many seeds as the study has, and new values of rho around the
            best rho are tried. Then 10 new seeds (see --confirm-seeds) judge the
            winners.
        address: The address of a Ray cluster. By default, use a running cluster. If
            there is none, start Ray on this machine.
        dry_run: Show what would run and how long it would take. Nothing is started or
            written.
        list: Show the names of all studies.
    """

    study: tyro.conf.Positional[str] = "quickstart"
    results: str = "results"
    dataset: Text = None
    data_dir: Text = None
    tasks: Whole = None
    seeds: Whole = None
    network: Text = None
    conv_channels: Text = None
    hidden: Text = None
    learner: Text = None
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
    refine: Flag = False
    address: Text = None
    dry_run: Flag = False
    list: Flag = False

    def __attrs_post_init__(self) -> None:
        """Raise a UsageError if the value of an option is not valid."""
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
        """The number of seeds that one trial trains together, or None for "auto"."""
        return None if self.stack == "auto" else int(self.stack)

    @property
    def local_slots(self) -> int:
        """The number of trials that this machine's CPUs can run at once."""
        slots = max(1, int((os.cpu_count() or 1) // self.cpus_per_trial))
        return min(slots, self.max_concurrent or slots)

    def run_options(self, study: Study | Search) -> RunOptions:
        """Return the options of each run of the study."""
        every = self.landscape_every
        return RunOptions(
            checkpoint_every=self.checkpoint_every,
            patience=self.patience,
            landscape_every=study.landscape_every if every is None else every,
            look_back=self.look_back,
        )

    def load_study(self) -> Study | Search:
        """Load the study, and return it with the changes that the options ask for.

        Raises:
            UsageError: The study does not exist, or an option is wrong for the study.
        """
        study = find_study(self.study)
        names = ("seeds", "dataset", "tasks", "batch_size", "epochs", "hidden")
        changes = {name: getattr(self, name) for name in names}
        network = make_network(self.network or "mlp", self.conv_channels)
        if self.network:
            hidden = self.hidden or "-".join(map(str, network.hidden))
            changes |= {"network": network, "hidden": hidden}
        if self.learner:
            name = choose("learner", self.learner, LEARNERS)
            # a search keeps its own domains of the learner's hyperparameters
            changes["learner"] = LEARNERS[name]() if isinstance(study, Study) else name
        if isinstance(study, Study):
            for name in ("trials", "objective", "asha"):
                if getattr(self, name):
                    raise UsageError(
                        f"--{name} is for a search, but {study.name} is not a search: "
                        f"leave out --{name}"
                    )
            return study.modify(**changes)
        if self.refine:
            raise UsageError(
                f"--refine is for a study, but {study.name} is a search, which already "
                "tries more settings near the good ones: leave out --refine"
            )
        if self.stack_size:
            raise UsageError(
                f"--stack is {self.stack}: a search trains all seeds of a setting "
                "together, so leave out --stack"
            )
        return study.modify(
            trials=self.trials,
            objectives=self.objective and self.objective.split(","),
            asha=self.asha or None,
            **changes,
        )


def make_network(name: str, conv_channels: str | None) -> Architecture:
    """Return the architecture with this name and, unless None, these channels.

    Raises:
        UsageError: There is no such network, or it has no channels.
    """
    kind = NETWORKS[choose("network", name, NETWORKS)]
    own = {"conv_channels": conv_channels} if conv_channels else {}
    if own.keys() - hyperparameters(kind):
        raise UsageError(
            f"--conv-channels is {conv_channels}, but the network is {kind.name}: give "
            "--network conv, or leave out --conv-channels"
        )
    return kind(**own)
