"""Whether PPO learns badly after a change because its actor explores too little.

The settings are those of PPO with Adam in the studies `control-laptop`, `control` and
`control-rewards`, with no remedy, with a fresh network in each level, and with
`head_zero`. With `head_zero`, all actions are equally likely at the start of each level
after the first, and the hidden layers keep what they have learned.
"""

import attrs

from study.spec.studies import STUDIES
from trainables.interventions import Fresh, HeadZero
from trainables.optimizers import SGD

PLAIN = [
    setting
    for name in ("control-laptop", "control", "control-rewards")
    for setting in STUDIES[name].settings
    if type(setting.optimizer) is SGD
    and setting.learner is None
    and setting.intervention is None
]
STUDY = attrs.evolve(
    STUDIES["control"],
    name="control-heads",
    settings=[
        attrs.evolve(setting, intervention=intervention)
        for setting in PLAIN
        for intervention in (None, Fresh(), HeadZero())
    ],
    about="PPO with no remedy, fresh networks, and output layers that become 0",
)
