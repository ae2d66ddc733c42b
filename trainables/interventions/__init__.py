"""Interventions: methods that help a network to keep its plasticity.

Each folder has one kind. `penalties` change the gradient of each update. `resets`
change the weights before a task. `units` replace single hidden units, and `weights`
change whole layers, after an update. `layer_norm` changes the forward pass.

To add an intervention, write it in a new file and import it here. Then add it to
`INTERVENTIONS` and `__all__`. Code outside of this package imports from here.
"""

from trainables.interventions.intervention import Intervention, Update
from trainables.interventions.layer_norm import LayerNorm
from trainables.interventions.penalties.l2_init import L2Init
from trainables.interventions.penalties.parseval import Parseval
from trainables.interventions.penalties.spectral_regularization import (
    SpectralRegularization,
)
from trainables.interventions.penalties.upgd import UPGD
from trainables.interventions.resets.fresh import Fresh
from trainables.interventions.resets.head_reset import HeadReset
from trainables.interventions.resets.head_zero import HeadZero
from trainables.interventions.resets.warm_start import WarmStart
from trainables.interventions.units.continual_backprop import ContinualBackprop
from trainables.interventions.units.redo import ReDo
from trainables.interventions.units.snr import SNR
from trainables.interventions.weights.hare_tortoise import HareTortoise
from trainables.interventions.weights.spectral_norm import SpectralNorm
from trainables.interventions.weights.step_shrink_perturb import StepShrinkPerturb

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
    "snr": SNR,
    "head_reset": HeadReset,
    "head_zero": HeadZero,
    "fresh": Fresh,
    "hare_tortoise": HareTortoise,
}

__all__ = [
    "INTERVENTIONS",
    "SNR",
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
    "Update",
    "WarmStart",
]
