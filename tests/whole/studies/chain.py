"""Two small settings with momentum and an ascent step, long enough to be stopped."""

from study.spec.studies import Study, grid
from trainables.optimizers import GNP, SGD
from trainables.problems import Pairwise, Permuted

COMMON = {"dataset": "mnist-5k", "tasks": 12, "hidden": (10,)}

STUDY = Study(
    "chain",
    grid((Permuted(),), (SGD(momentum=0.9),), batch_size=16, **COMMON)
    + grid((Pairwise(),), (GNP(),), batch_size=4, **COMMON),
    range(2),
)
