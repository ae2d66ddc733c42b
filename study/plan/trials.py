"""What is left of a study to run, as trials: a setting with a stack of seeds each."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from study.plan.cost import Cost, run_cost
from study.plan.memory import seeds_that_fit
from study.spec.studies import Study
from trainables.record import WHAT
from trainables.request import seeds_text, stack_name
from trainables.setting import Row, Setting

CPU_STACK = 10
"""Seeds side by side on a CPU: more gain little and leave the processor's cache."""

GPU_STACK = 64
"""Seeds side by side on a GPU, where the kernels' launches cost more than they do."""

_COMMON = ("problem", "dataset", "tasks", "epochs", "batch_size", "hidden", "optimizer")
"""What of a setting is said apart from the hyperparameters, or by the study."""

LONGEST_NAME = 120
"""A file's name holds the seeds; scattered ones may have to make several stacks."""


@dataclass(frozen=True)
class Trial:
    """One setting with the seeds that are trained side by side."""

    setting: Setting
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of its files."""
        return stack_name(self.setting.setting_id, self.seeds)

    @property
    def label(self) -> str:
        """What it is, for a reader, as permuted sam lr=0.01 rho=0.05, seeds 0-4."""
        row = self.setting.row()
        seeds = seeds_text(self.seeds)
        what = f"{row['problem']} {row['optimizer']} {hyperparameters(row)}"
        return f"{what}, seeds {seeds}"

    @functools.cached_property
    def cost(self) -> Cost:
        """The cost of all its runs."""
        one = run_cost(self.setting)
        return Cost(one.examples * len(self.seeds), one.flops * len(self.seeds))

    def config(self, cpus: float, gpus: float) -> dict[str, Any]:
        """Return the trial as `trainables.trainable.ContinualTrainable` reads it."""
        return {
            "setting": self.setting.row(),
            "seeds": list(self.seeds),
            "name": self.name,
            "cpus": cpus,
            "gpus": gpus,
        }


def hyperparameters(row: Row) -> str:
    """Return the optimizer's hyperparameters that are not 0, base and intervention.

    >>> hyperparameters(Setting().row() | {"intervention": "redo", "redo_tau": 0.1})
    'lr=0.01 redo redo_tau=0.1'
    """
    first = ("lr", "rho", "alpha", "momentum", "weight_decay")
    others = [n for n in WHAT if n not in (*first, *_COMMON)]
    told = [(name, row[name]) for name in (*first, *others) if row.get(name)]
    return " ".join(v if isinstance(v, str) else f"{n}={v:g}" for n, v in told)


def plan(
    study: Study,
    done: Collection[str],
    interrupted: Sequence[tuple[str, tuple[int, ...]]],
    stack: int | None,
    slots: int,
    gpu_memory: float | None = None,
) -> list[Trial]:
    """Return the trials of all that is not done, the costliest first.

    Args:
        study: What to run.
        done: The run_ids that are finished.
        interrupted: Stacks that have a checkpoint, and then those that were planned
            before: they go on as they are, to the same last bit.
        stack: Seeds per trial; None: chosen by `stack_size`.
        slots: How many trials run at once.
        gpu_memory: Bytes that a trial has of its GPU; None: it has none.
    """
    trials: list[Trial] = []
    waiting: list[tuple[Setting, list[int]]] = []
    for setting in study.settings:
        left = [s for s in study.seeds if setting.run_id(s) not in done]
        for setting_id, seeds in interrupted:
            if setting_id == setting.setting_id and seeds and set(seeds) <= set(left):
                trials.append(Trial(setting, seeds))
                left = [seed for seed in left if seed not in seeds]
        waiting.append((setting, left))
    on_gpu = gpu_memory is not None
    auto = stack_size(sum(len(left) for _, left in waiting), slots, on_gpu)
    for setting, left in waiting:
        fit = auto if gpu_memory is None else seeds_that_fit(setting, gpu_memory)
        size = stack or min(auto, fit)
        trials.extend(Trial(setting, seeds) for seeds in _split(left, size))
    return sorted(trials, key=lambda trial: -trial.cost.flops)


def stack_size(runs: int, slots: int, gpu: bool) -> int:
    """Return how many seeds to train side by side, leaving no slot idle."""
    most = GPU_STACK if gpu else CPU_STACK
    return max(1, min(most, math.ceil(runs / slots)))


def _split(seeds: list[int], size: int) -> list[tuple[int, ...]]:
    """Split seeds into stacks, as even as can be."""
    count = math.ceil(len(seeds) / size)
    bounds = [round(i * len(seeds) / count) for i in range(count + 1)] if count else []
    stacks = [tuple(seeds[a:b]) for a, b in itertools.pairwise(bounds)]
    if any(len(stack_name("", stack)) > LONGEST_NAME for stack in stacks):
        return _split(seeds, max(1, size // 2))
    return stacks
