"""The settings of the study `kumar-2023`, with 500 tasks instead of 20."""

import attrs

from study.spec.studies import STUDIES

SHORT = STUDIES["kumar-2023"]
STUDY = attrs.evolve(
    SHORT,
    name="kumar-500",
    landscape_every=0,
    settings=[attrs.evolve(setting, tasks=500) for setting in SHORT.settings],
)
