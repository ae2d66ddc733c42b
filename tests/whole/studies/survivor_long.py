"""Four settings, with and without momentum and an ascent step: 12 longer runs."""

from study.spec.studies import Study, grid
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Pairwise, Permuted

COMMON = {"dataset": "mnist-5k", "tasks": 6, "epochs": 2, "hidden": (10,)}

STUDY = Study(
    "survivor",
    grid((Permuted(),), (SGD(momentum=0.9), SAM()), batch_size=1, **COMMON)
    + grid((Pairwise(),), (SGD(), GNP(momentum=0.9)), batch_size=1, **COMMON),
    range(3),
)
