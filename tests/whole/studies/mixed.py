"""Both problems and three optimizers: six small settings of two tasks."""

from study.spec.studies import Study, grid
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Pairwise, Permuted

OPTIMIZERS = (SGD(lr=0.01), SAM(lr=0.01), GNP(lr=0.01))

STUDY = Study(
    "mixed",
    grid(
        (Permuted(), Pairwise()),
        OPTIMIZERS,
        dataset="mnist-5k",
        tasks=2,
        epochs=2,
        batch_size=256,
        hidden=(10,),
    ),
    range(3),
)
