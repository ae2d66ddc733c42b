"""The fresh networks of the study `control`, on the seeds that confirm its winners."""

import attrs

from study.spec.studies import STUDIES
from trainables.interventions import Fresh

FULL = STUDIES["control"]
STUDY = attrs.evolve(
    FULL,
    settings=[s for s in FULL.settings if isinstance(s.intervention, Fresh)],
    seeds=range(6, 16),
)
