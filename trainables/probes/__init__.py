"""Probes: what is measured on the networks beside their accuracy. A line each.

A probe's key is the record's column. It gives one float64 a seed; those whose name
begins with `layer_` give one a layer.

- `PROBES` look at the networks after every task: capacity, norms, distances.
- `LANDSCAPE` looks at the loss around the weights, after every `--probe-every`th task.
- `START` names those that are also measured before such a task, on its examples: what
  the last task left the network like, for the next.
"""

from collections.abc import Callable

from torch import Tensor

from trainables.probes.ascent import lipschitz, sam_sharpness
from trainables.probes.distance import (
    initial_distance,
    layer_initial_distance,
    layer_update_norm,
    update_norm,
)
from trainables.probes.dormant import (
    dormant_fraction,
    dormant_fraction_tau,
    layer_dormant_fraction,
)
from trainables.probes.landscape import Landscape
from trainables.probes.norms import gradient_norm, layer_weight_norm, weight_norm
from trainables.probes.probe import EXAMPLES, Probe
from trainables.probes.rank import (
    approximate_rank,
    effective_rank,
    participation_ratio,
    srank,
    stable_rank,
)
from trainables.probes.sharpness import sharpness
from trainables.probes.trace import hessian_trace, hessian_trace_error

PROBES: dict[str, Callable[[Probe], Tensor]] = {
    "dormant_fraction": dormant_fraction,
    "dormant_fraction_tau": dormant_fraction_tau,
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "srank": srank,
    "approximate_rank": approximate_rank,
    "participation_ratio": participation_ratio,
    "weight_norm": weight_norm,
    "initial_distance": initial_distance,
    "update_norm": update_norm,
    "gradient_norm": gradient_norm,
    "layer_dormant_fraction": layer_dormant_fraction,
    "layer_weight_norm": layer_weight_norm,
    "layer_initial_distance": layer_initial_distance,
    "layer_update_norm": layer_update_norm,
}

LANDSCAPE: dict[str, Callable[[Landscape], Tensor]] = {
    "sharpness": sharpness,
    "hessian_trace": hessian_trace,
    "hessian_trace_error": hessian_trace_error,
    "sam_sharpness": sam_sharpness,
    "lipschitz": lipschitz,
}

START: dict[str, str] = {
    "start_sharpness": "sharpness",
    "start_sam_sharpness": "sam_sharpness",
    "start_lipschitz": "lipschitz",
    "start_gradient_norm": "gradient_norm",
    "start_dormant_fraction": "dormant_fraction",
    "start_effective_rank": "effective_rank",
}
"""Columns of what is measured before a task, and the probes that measure it."""

__all__ = ["EXAMPLES", "LANDSCAPE", "PROBES", "START", "Landscape", "Probe"]
