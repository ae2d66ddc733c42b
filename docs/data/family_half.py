"""The half of the study `family` with the larger learning rates."""

import attrs

from study.spec.studies import STUDIES

FULL = STUDIES["family"]
STUDY = attrs.evolve(
    FULL,
    settings=[s for s in FULL.settings if s.optimizer.lr in (0.03, 0.003)],
)
