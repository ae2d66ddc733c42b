"""A schedule of rho, for every optimizer with an ascent step.

    rho * level of the task * min(1, number of the update in its task / rho_warmup)

With rho_decay, the level of task t (from 0) of T tasks is 1 - t / T (linear) or
(1 + cos(pi t / T)) / 2 (cosine). All updates of a task have the same level. Without
rho_decay, the level is 1. Without rho_warmup, the last factor is 1.

Zhuang et al. 2022 (arXiv 2203.08065) let rho follow lr: rho / lr is constant
(juntang-zhuang/GSAM@a770275, gsam/scheduler.py:5-42, with both minima 0). In this
project, lr has no schedule of its own. With rho_follows = "lr", lr is multiplied by the
same factors as rho. The authors of GNP advise a warm-up of rho for Adam (arXiv
2406.09723).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from trainables.hyperparameter import choice, whole
from trainables.optimizers.optimizer import Optimizer
from trainables.usage import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory

LEVELS: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
}


@attrs.frozen(kw_only=True)
class ScheduledOptimizer(Optimizer):
    """An optimizer whose rho can rise in each task and fall along the stream.

    Raises:
        UsageError: rho follows lr, but there is neither a warm-up nor a decay.
    """

    rho_warmup: int | None = whole(
        None,
        unit="updates",
        meaning="updates at the start of a task in which rho rises from 0; null: none",
    )
    rho_decay: str | None = choice(
        None,
        LEVELS,
        meaning="how rho falls to 0 along the stream: linear, cosine; null: constant",
    )
    rho_follows: str | None = choice(
        None,
        ("lr",),
        meaning="'lr' gives lr the schedule of rho; null: lr is constant",
    )

    def __attrs_post_init__(self) -> None:
        if self.rho_follows and not self.is_scheduled:
            raise UsageError(
                "rho_follows is lr, but rho is constant: give rho_warmup or rho_decay"
            )

    @property
    def is_scheduled(self) -> bool:
        """Whether rho changes during a run."""
        return bool(self.rho_warmup or self.rho_decay)

    @property
    def is_mixture(self) -> bool:
        """See `Optimizer.is_mixture`. True only if rho is constant."""
        return super().is_mixture and not self.is_scheduled

    def begin(self, network: Network, memory: Memory) -> None:
        """Create the task's level and its number of updates, if rho is scheduled."""
        if self.is_scheduled:
            first = network.weights[0]
            memory.marks["rho_level"] = first.new_ones(network.seeds)
            memory.marks["rho_updates"] = first.new_zeros(network.seeds)

    def begin_task(self, memory: Memory, progress: float) -> None:
        """Set the level of the task, and set its number of updates to 0."""
        if self.is_scheduled:
            level = LEVELS[self.rho_decay](progress) if self.rho_decay else 1.0
            memory.marks["rho_level"].fill_(level)
            memory.marks["rho_updates"].zero_()

    def count(self, memory: Memory) -> None:
        """Count an update of the task."""
        if self.is_scheduled:
            memory.marks["rho_updates"].add_(1)

    def share(self, memory: Memory) -> float | Tensor:
        """Return the factor of rho: 1, or a number for each network, (S, 1, 1)."""
        if not self.is_scheduled:
            return 1.0
        share = memory.marks["rho_level"]
        if self.rho_warmup:
            updates = memory.marks["rho_updates"]
            share = share * (updates / self.rho_warmup).clamp(max=1)
        return share[:, None, None]

    def radius(self, memory: Memory) -> float | Tensor:
        """Return rho at this update: a number, or one for each network, (S, 1, 1)."""
        return super().radius(memory) * self.share(memory)

    def rate(self, memory: Memory) -> float | Tensor:
        """Return lr at this update: a number, or one for each network, (S, 1, 1)."""
        lr = super().rate(memory)
        return lr * self.share(memory) if self.rho_follows else lr
