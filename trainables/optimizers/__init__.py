"""Optimizers. Each optimizer has its own file and an entry in `OPTIMIZERS`."""

from trainables.optimizers.asam import ASAM
from trainables.optimizers.fsam import FSAM
from trainables.optimizers.gam import GAM
from trainables.optimizers.gnp import GNP
from trainables.optimizers.gsam import GSAM
from trainables.optimizers.looksam import LookSAM
from trainables.optimizers.msam import MSAM
from trainables.optimizers.optimizer import Optimizer
from trainables.optimizers.sam import SAM
from trainables.optimizers.sgd import SGD
from trainables.optimizers.surface import EPSILON, Surface
from trainables.optimizers.vasso import VaSSO
from trainables.optimizers.wsam import WSAM

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "sam": SAM,
    "gnp": GNP,
    "asam": ASAM,
    "wsam": WSAM,
    "gsam": GSAM,
    "fsam": FSAM,
    "vasso": VaSSO,
    "msam": MSAM,
    "looksam": LookSAM,
    "gam": GAM,
}

__all__ = [
    "ASAM",
    "EPSILON",
    "FSAM",
    "GAM",
    "GNP",
    "GSAM",
    "MSAM",
    "OPTIMIZERS",
    "SAM",
    "SGD",
    "WSAM",
    "LookSAM",
    "Optimizer",
    "Surface",
    "VaSSO",
]
