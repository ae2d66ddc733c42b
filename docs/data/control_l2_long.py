"""PPO with L2-init of lambda 0.001 (not 0.01) in the levels of Tang et al. 2025.

In the shorter levels of `control_l2_init.py`, lambda 0.001 was the only one of six that
was shown to be better than no remedy. The records join those of `control-calibration`.
"""

import attrs

from study.spec.studies import STUDIES
from trainables.interventions import L2Init

FULL = STUDIES["control-calibration"]
STUDY = attrs.evolve(
    FULL,
    settings=[attrs.evolve(FULL.settings[0], intervention=L2Init(init_decay=0.001))],
    about="PPO with L2-init of lambda 0.001, beside the study control-calibration",
)
