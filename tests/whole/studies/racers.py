"""Two settings of SGD, one of which learns nothing: a race that one stage decides."""

from study.spec.studies import Study, grid
from trainables.optimizers import SGD
from trainables.problems import Permuted

STUDY = Study(
    "racers",
    grid(
        (Permuted(),),
        (SGD(lr=0.1), SGD(lr=1e-6)),
        **{"dataset": "mnist-5k", "tasks": 6, "hidden": (10,), "batch_size": 8},
    ),
    range(2),
    landscape_every=0,
)
