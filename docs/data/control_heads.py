"""Whether PPO learns badly after a change because of its output layers.

The settings are those of PPO with Adam in the studies `control-laptop`, `control` and
`control-rewards`, with no remedy, with a fresh network in each level, and with
`head_zero`. With `head_zero`, all actions are equally likely at the start of each level
after the first, and the hidden layers keep what they have learned. In the stream of
`control`, the best SAM and GNP of that study also run, with no remedy and `head_zero`.
"""

import attrs

from study.spec.studies import STUDIES
from trainables.interventions import Fresh, HeadZero
from trainables.optimizers import GNP, SAM, SGD

PLAIN = [
    setting
    for name in ("control-laptop", "control", "control-rewards")
    for setting in STUDIES[name].settings
    if type(setting.optimizer) is SGD
    and setting.learner is None
    and setting.intervention is None
]
SHARP = [
    setting
    for setting in STUDIES["control"].settings
    if (type(setting.optimizer), setting.optimizer.rho) in ((SAM, 0.05), (GNP, 0.2))
]
STUDY = attrs.evolve(
    STUDIES["control"],
    name="control-heads",
    settings=[
        attrs.evolve(setting, intervention=intervention)
        for settings, interventions in (
            (PLAIN, (None, Fresh(), HeadZero())),
            (SHARP, (None, HeadZero())),
        )
        for setting in settings
        for intervention in interventions
    ],
    about="PPO with no remedy, fresh networks, and output layers that become 0",
)
