"""Optimizers. Each optimizer has its own file and an entry in `OPTIMIZERS`."""

from trainables.optimizers.asam import ASAM
from trainables.optimizers.gnp import GNP
from trainables.optimizers.optimizer import Optimizer
from trainables.optimizers.sam import SAM
from trainables.optimizers.sgd import SGD
from trainables.optimizers.surface import EPSILON, Surface

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "sam": SAM,
    "gnp": GNP,
    "asam": ASAM,
}

__all__ = ["ASAM", "EPSILON", "GNP", "OPTIMIZERS", "SAM", "SGD", "Optimizer", "Surface"]
