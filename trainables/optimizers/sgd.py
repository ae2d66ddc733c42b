"""SGD: stochastic gradient descent (Robbins & Monro 1951), with momentum if asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.optimizers.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """g = grad L(w); one pass."""

    name: ClassVar[str] = "sgd"
