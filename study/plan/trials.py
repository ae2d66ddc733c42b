"""Plan the trials that run the unfinished runs of a study.

A trial has one setting and one stack. A stack is a group of seeds that are trained side
by side.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from study.plan.cost import Cost, run_cost, seeds_that_fit
from study.spec.studies import Study
from trainables.record import SETTING_COLUMNS
from trainables.request import joint_id, seeds_text, stack_name
from trainables.setting import Row, Setting, common_setting

T = TypeVar("T")

# The largest number of seeds that one trial trains together, if the user sets none.
# More seeds hardly make a CPU faster, because they do not fit into its cache. On a GPU,
# many seeds are efficient, because the launch of a kernel takes long.
CPU_STACK, GPU_STACK = 10, 64

# The largest number of networks that a trial with several settings trains together. It
# was chosen without a GPU.
JOINT_NETWORKS = 512

# The largest number of characters that the seeds of a stack can take in its file name.
LONGEST_NAME = 120

_SHOWN_FIRST = ("lr", "rho", "alpha", "momentum", "weight_decay")

_NOT_SHOWN = frozenset(
    {"problem", "dataset", "tasks", "epochs", "batch_size", "hidden", "optimizer"}
)


@attrs.frozen
class Trial:
    """A trial: one setting, and the seeds that the trial trains together.

    If `until` is given, the trial saves a checkpoint and pauses after this many tasks.
    On a GPU, `partners` are settings that train together with the first setting, with
    the same seeds (`trainables.joint`).
    """

    setting: Setting
    seeds: tuple[int, ...]
    until: int | None = None
    partners: tuple[Setting, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings of the trial."""
        return self.setting, *self.partners

    @property
    def setting_ids(self) -> tuple[str, ...]:
        """The setting_ids of all settings."""
        return tuple(setting.setting_id for setting in self.settings)

    @property
    def runs(self) -> int:
        """The number of runs: one for each setting and seed."""
        return len(self.settings) * len(self.seeds)

    @property
    def run_ids(self) -> list[str]:
        """The run_ids of all runs."""
        return [own.run_id(seed) for own in self.settings for seed in self.seeds]

    @functools.cached_property
    def name(self) -> str:
        """The name of the trial, which is part of the names of its files."""
        return stack_name(joint_id(self.setting_ids), self.seeds)

    @property
    def label(self) -> str:
        """The trial as text, such as "permuted sam lr=0.01 rho=0.05, seeds 0-4"."""
        text = " ".join(setting_cells(self.setting.row())[:3])
        if self.partners:
            text += f" and {len(self.partners)} more settings"
        return f"{text}, seeds {seeds_text(self.seeds)}"

    @property
    def tasks(self) -> int:
        """The number of tasks of each run until the trial ends or pauses."""
        return self.setting.tasks if self.until is None else self.until

    @functools.cached_property
    def cost(self) -> Cost:
        """The sum of the costs of the tasks of all runs of the trial."""
        runs = len(self.seeds) * self.tasks / self.setting.tasks
        costs = [run_cost(setting) for setting in self.settings]
        return Cost(*(runs * sum(parts) for parts in zip(*costs, strict=True)))

    def config(self, cpus: float, gpus: float) -> dict[str, Any]:
        """Return the config of the trial for `ContinualTrainable`, which runs it."""
        run: dict[str, Any] = {"setting": self.setting.row(), "seeds": list(self.seeds)}
        run["partners"] = [setting.row() for setting in self.partners]
        names = {"name": self.name, "label": self.label}
        return {**run, **names, "until": self.tasks, "cpus": cpus, "gpus": gpus}


def hyperparameter_text(row: Row) -> str:
    """Return the hyperparameters of a setting as text.

    The text leaves out empty and zero values, the names of the problem, the optimizer
    and the dataset, and the sizes of the stream and the network.

    >>> hyperparameter_text(Setting().row() | {"intervention": "redo", "redo_tau": 0.1})
    'lr=0.01 redo redo_tau=0.1'
    """
    names = dict.fromkeys((*_SHOWN_FIRST, *SETTING_COLUMNS))
    values = {n: row[n] for n in names if n not in _NOT_SHOWN and row.get(n)}
    return " ".join(
        v if isinstance(v, str) else f"{name}={v:g}" for name, v in values.items()
    )


SETTING_HEADER = ("problem", "optimizer", "hyperparameters", "dataset")


def setting_cells(row: Row) -> tuple[str, ...]:
    """Return the table cells of a setting, one for each name in `SETTING_HEADER`."""
    return row["problem"], row["optimizer"], hyperparameter_text(row), row["dataset"]


def plan(
    study: Study,
    finished: Collection[str],
    stacks: Sequence[tuple[str, tuple[int, ...]]],
    *,
    stack_size: int | None,
    slots: int,
    gpu_memory: float | None = None,
    joint: Mapping[str, Sequence[str]] | None = None,
    checkpoint_stacks: Collection[tuple[str, tuple[int, ...]]] = (),
    can_join: bool = False,
    most_networks: int | None = None,
) -> list[Trial]:
    """Return the trials that run all unfinished runs, with the costliest trial first.

    Args:
        study: The study to run.
        finished: The run_ids of finished runs.
        stacks: The setting_id or `joint_id` and the seeds of each stack to resume. A
            resumed stack gives bit-identical results only if it has the same seeds and
            settings as before. If two stacks share a run, only the first is used, so
            stacks with checkpoints must come first.
        stack_size: The largest number of seeds of a new trial, or None to let
            `auto_stack_size` choose it.
        slots: The number of trials that run at the same time.
        gpu_memory: The GPU memory of each trial in bytes, or None without a GPU.
        joint: The setting_ids of the settings in a stack, by `joint_id`.
        checkpoint_stacks: The stacks that have a checkpoint.
        can_join: Whether several settings may train together. They do on a GPU, unless
            `stack_size` is given.
        most_networks: The largest number of networks of a trial, or None. Larger stacks
            are not resumed.
    """
    most = math.inf if most_networks is None else most_networks
    left = {
        setting: [seed for seed in study.seeds if setting.run_id(seed) not in finished]
        for setting in study.settings
    }
    joins = can_join and stack_size is None and gpu_memory is not None
    groups = (joint or {}) if joins else {}
    resumed = [
        trial
        for trial in _resumed(study, left, stacks, groups, checkpoint_stacks)
        if trial.runs <= most
    ]
    for trial in resumed:
        for setting in trial.settings:
            left[setting] = [s for s in left[setting] if s not in trial.seeds]
    runs = sum(map(len, left.values()))
    auto_size = auto_stack_size(runs, slots, gpu=gpu_memory is not None)
    new: list[Trial] = []
    for setting, seeds in left.items():
        size = int(min(stack_size or auto_size, most))
        if stack_size is None and gpu_memory is not None:
            size = min(size, seeds_that_fit(setting, gpu_memory))
        new += [Trial(setting, stack) for stack in _split(seeds, size)]
    if joins and gpu_memory is not None:
        networks = int(min(JOINT_NETWORKS, most))
        new = _join(new, math.ceil(runs / slots), networks, gpu_memory)
    return sorted([*resumed, *new], key=lambda trial: -trial.cost.work)


def _resumed(
    study: Study,
    left: Mapping[Setting, Sequence[int]],
    stacks: Iterable[tuple[str, tuple[int, ...]]],
    joint: Mapping[str, Sequence[str]],
    checkpoint_stacks: Collection[tuple[str, tuple[int, ...]]],
) -> list[Trial]:
    """Return the trials that resume earlier stacks. `left` has the unfinished runs.

    A stack of several settings that has a checkpoint is resumed even if some of its
    runs are finished: the trial was possibly killed between writing the records of two
    settings.
    """
    settings = {setting.setting_id: setting for setting in study.settings}
    planned: dict[Setting, set[int]] = {setting: set() for setting in study.settings}
    trials = []
    for stack_id, seeds in stacks:
        setting_ids = joint.get(stack_id, (stack_id,))
        if not seeds or not settings.keys() >= set(setting_ids):
            continue
        own = [settings[setting_id] for setting_id in setting_ids]
        if any(planned[setting].intersection(seeds) for setting in own):
            continue
        open_seeds = [set(seeds).intersection(left[setting]) for setting in own]
        can_resume = all(seeds_left == set(seeds) for seeds_left in open_seeds)
        if len(own) > 1 and (stack_id, seeds) in checkpoint_stacks:
            can_resume = any(open_seeds) and set(seeds) <= set(study.seeds)
        if can_resume:
            trials.append(Trial(own[0], seeds, partners=tuple(own[1:])))
            for setting in own:
                planned[setting].update(seeds)
    return trials


def _join(
    trials: Iterable[Trial], share: int, most: int, gpu_memory: float
) -> list[Trial]:
    """Put the settings that can train together into the same trials.

    A trial gets about `share` networks, but at most `most`, and only as many as fit
    into the memory.
    """
    joined: list[Trial] = []
    groups: defaultdict[tuple[Setting, tuple[int, ...]], list[Setting]]
    groups = defaultdict(list)
    for trial in trials:
        common = common_setting(trial.setting)
        if common is None:
            joined.append(trial)
        else:
            groups[common, trial.seeds].append(trial.setting)
    for (common, seeds), settings in groups.items():
        limit = min(most, seeds_that_fit(common, gpu_memory)) // len(seeds)
        together = max(1, min(limit, math.ceil(share / len(seeds))))
        trials_needed = math.ceil(len(settings) / together)
        for first, *partners in _even_parts(settings, trials_needed):
            joined.append(Trial(first, seeds, partners=tuple(partners)))
    return joined


def auto_stack_size(runs: int, slots: int, *, gpu: bool) -> int:
    """Return how many seeds one trial should train together.

    With this number, `runs` runs give work to all `slots` trials that run at once.
    """
    most = GPU_STACK if gpu else CPU_STACK
    return max(1, min(most, math.ceil(runs / slots)))


def _split(seeds: list[int], size: int) -> list[tuple[int, ...]]:
    """Split seeds into groups of about equal size, with at most `size` seeds each."""
    parts = _even_parts(seeds, math.ceil(len(seeds) / size))
    stacks = [tuple(part) for part in parts]
    if any(len(stack_name("", stack)) > LONGEST_NAME for stack in stacks):
        return _split(seeds, max(1, size // 2))
    return stacks


def _even_parts(items: list[T], count: int) -> list[list[T]]:
    """Split items into `count` neighbors of about equal size."""
    bounds = [round(i * len(items) / count) for i in range(count + 1)] if count else []
    return [items[a:b] for a, b in itertools.pairwise(bounds)]
