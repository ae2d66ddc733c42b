"""On ten new seeds: the MSAM of the study `family` with the best level, and its SGD."""

import attrs

from study.spec.studies import STUDIES
from trainables.optimizers import MSAM, SGD

FULL = STUDIES["family"]
CHOSEN = (
    MSAM(lr=0.003, rho=0.3),
    SGD(lr=0.003, momentum=0.9),
    SGD(lr=0.001, momentum=0.9),
)
STUDY = attrs.evolve(
    FULL,
    settings=[s for s in FULL.settings if s.optimizer in CHOSEN],
    seeds=range(5, 15),
)
