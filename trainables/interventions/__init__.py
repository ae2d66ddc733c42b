"""Interventions: methods that help a network to keep its plasticity.

To add an intervention, write it in a new file and import it here. Then add it to
`INTERVENTIONS` and `__all__`.
"""

from trainables.interventions.continual_backprop import ContinualBackprop
from trainables.interventions.fresh import Fresh
from trainables.interventions.hare_tortoise import HareTortoise
from trainables.interventions.head_reset import HeadReset
from trainables.interventions.head_zero import HeadZero
from trainables.interventions.intervention import Intervention
from trainables.interventions.l2_init import L2Init
from trainables.interventions.layer_norm import LayerNorm
from trainables.interventions.parseval import Parseval
from trainables.interventions.redo import ReDo
from trainables.interventions.spectral_norm import SpectralNorm
from trainables.interventions.spectral_regularization import SpectralRegularization
from trainables.interventions.step_shrink_perturb import StepShrinkPerturb
from trainables.interventions.upgd import UPGD
from trainables.interventions.warm_start import WarmStart

INTERVENTIONS: dict[str, type[Intervention]] = {
    "l2_init": L2Init,
    "layer_norm": LayerNorm,
    "spectral_norm": SpectralNorm,
    "spectral_regularization": SpectralRegularization,
    "parseval": Parseval,
    "upgd": UPGD,
    "step_shrink_perturb": StepShrinkPerturb,
    "warm_start": WarmStart,
    "continual_backprop": ContinualBackprop,
    "redo": ReDo,
    "head_reset": HeadReset,
    "head_zero": HeadZero,
    "fresh": Fresh,
    "hare_tortoise": HareTortoise,
}

__all__ = [
    "INTERVENTIONS",
    "UPGD",
    "ContinualBackprop",
    "Fresh",
    "HareTortoise",
    "HeadReset",
    "HeadZero",
    "Intervention",
    "L2Init",
    "LayerNorm",
    "Parseval",
    "ReDo",
    "SpectralNorm",
    "SpectralRegularization",
    "StepShrinkPerturb",
    "WarmStart",
]
