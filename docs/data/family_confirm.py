"""The MSAM of the study `family` with the best level, on ten new seeds, and its SGD."""

import attrs

from study.spec.studies import STUDIES
from trainables.optimizers import MSAM

FULL = STUDIES["family"]
MSAMS = [s for s in FULL.settings if isinstance(s.optimizer, MSAM)]
BEST = max(MSAMS, key=lambda s: (s.optimizer.lr, s.optimizer.rho))
STUDY = attrs.evolve(
    FULL,
    settings=[
        BEST,
        *(
            s
            for s in FULL.settings
            if (s.optimizer.name, s.optimizer.momentum) == ("sgd", 0.9)
        ),
    ],
    seeds=range(5, 15),
)
