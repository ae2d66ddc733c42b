"""Which strength of L2-init keeps PPO plastic when observations change.

The settings are those of the study `control-laptop`, with more values of lambda. Tang
et al. 2025 report that L2-init nearly reaches fresh networks, but not their lambda.
"""

import attrs

from study.spec.studies import STUDIES
from trainables.interventions import Fresh, L2Init

FULL = STUDIES["control-laptop"]
LAMBDAS = 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2
STUDY = attrs.evolve(
    FULL,
    name="control-l2-init",
    settings=[
        attrs.evolve(FULL.settings[0], intervention=intervention)
        for intervention in (None, Fresh(), *(L2Init(init_decay=d) for d in LAMBDAS))
    ],
    about="PPO with L2-init of six strengths, beside no remedy and fresh networks",
)
