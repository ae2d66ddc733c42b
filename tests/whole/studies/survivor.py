"""Four settings, with and without momentum and an ascent step: 12 runs of 6 tasks."""

from study.spec.studies import Study, grid
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Pairwise, Permuted

COMMON = {"dataset": "mnist-5k", "tasks": 6, "hidden": (10,)}

STUDY = Study(
    "survivor",
    grid((Permuted(),), (SGD(momentum=0.9), SAM()), batch_size=8, **COMMON)
    + grid((Pairwise(),), (SGD(), GNP(momentum=0.9)), batch_size=2, **COMMON),
    range(3),
    landscape_every=0,
)
