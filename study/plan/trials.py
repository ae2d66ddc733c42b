"""Plan the trials that run the unfinished runs of a study.

A trial has one setting and one stack. A stack is a group of seeds that are trained side
by side.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import attrs

from study.plan.cost import Cost, run_cost, seeds_that_fit
from study.spec.studies import Study
from trainables.record import SETTING_COLUMNS
from trainables.request import seeds_text, stack_name
from trainables.setting import Row, Setting

# The largest number of seeds that one trial trains together, if the user sets none.
# More seeds hardly make a CPU faster, because they do not fit into its cache. On a GPU,
# many seeds are efficient, because the launch of a kernel takes long.
CPU_STACK, GPU_STACK = 10, 64

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
    """

    setting: Setting
    seeds: tuple[int, ...]
    until: int | None = None

    @functools.cached_property
    def name(self) -> str:
        """The name of the trial, which is part of the names of its files."""
        return stack_name(self.setting.setting_id, self.seeds)

    @property
    def label(self) -> str:
        """The trial as text, such as "permuted sam lr=0.01 rho=0.05, seeds 0-4"."""
        text = " ".join(setting_cells(self.setting.row())[:3])
        return f"{text}, seeds {seeds_text(self.seeds)}"

    @property
    def tasks(self) -> int:
        """The number of tasks of each run until the trial ends or pauses."""
        return self.setting.tasks if self.until is None else self.until

    @functools.cached_property
    def cost(self) -> Cost:
        """The sum of the costs of the tasks of all runs of the trial."""
        runs = len(self.seeds) * self.tasks / self.setting.tasks
        return Cost(*(runs * number for number in run_cost(self.setting)))

    def config(self, cpus: float, gpus: float) -> dict[str, Any]:
        """Return the config of the trial for `ContinualTrainable`, which runs it."""
        run = {"setting": self.setting.row(), "seeds": list(self.seeds)}
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
) -> list[Trial]:
    """Return the trials that run all unfinished runs, with the costliest trial first.

    Args:
        study: The study to run.
        finished: The run_ids of finished runs.
        stacks: The setting_id and the seeds of each stack to resume. A resumed stack
            gives bit-identical results only if it has the same seeds as before. If two
            stacks share a seed, only the first is used, so stacks with checkpoints must
            come first.
        stack_size: The largest number of seeds of a new trial, or None to let
            `auto_stack_size` choose it.
        slots: The number of trials that run at the same time.
        gpu_memory: The GPU memory of each trial in bytes, or None without a GPU.
    """
    trials: list[Trial] = []
    left: dict[Setting, list[int]] = {}
    stacks_of: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for setting_id, stack in stacks:
        stacks_of[setting_id].append(stack)
    for setting in study.settings:
        seeds = [seed for seed in study.seeds if setting.run_id(seed) not in finished]
        free = set(seeds)
        for stack in stacks_of[setting.setting_id]:
            if stack and free.issuperset(stack):
                trials.append(Trial(setting, stack))
                free.difference_update(stack)
        left[setting] = [seed for seed in seeds if seed in free]
    runs = sum(map(len, left.values()))
    auto_size = auto_stack_size(runs, slots, gpu=gpu_memory is not None)
    for setting, seeds in left.items():
        size = stack_size or auto_size
        if stack_size is None and gpu_memory is not None:
            size = min(size, seeds_that_fit(setting, gpu_memory))
        trials += [Trial(setting, stack) for stack in _split(seeds, size)]
    return sorted(trials, key=lambda trial: -trial.cost.work)


def auto_stack_size(runs: int, slots: int, *, gpu: bool) -> int:
    """Return how many seeds one trial should train together.

    With this number, `runs` runs give work to all `slots` trials that run at once.
    """
    most = GPU_STACK if gpu else CPU_STACK
    return max(1, min(most, math.ceil(runs / slots)))


def _split(seeds: list[int], size: int) -> list[tuple[int, ...]]:
    """Split seeds into groups of about equal size, with at most `size` seeds each."""
    count = math.ceil(len(seeds) / size)
    bounds = [round(i * len(seeds) / count) for i in range(count + 1)] if count else []
    stacks = [tuple(seeds[a:b]) for a, b in itertools.pairwise(bounds)]
    if any(len(stack_name("", stack)) > LONGEST_NAME for stack in stacks):
        return _split(seeds, max(1, size // 2))
    return stacks
