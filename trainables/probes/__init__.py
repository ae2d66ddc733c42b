"""Probes: what is measured on the networks after a task. A line each.

A probe maps a `Probe` to one float64 a seed; its key is the record's column.
"""

from collections.abc import Callable

from torch import Tensor

from trainables.probes.dormant import dormant_fraction
from trainables.probes.norms import gradient_norm, weight_norm
from trainables.probes.probe import EXAMPLES, Probe
from trainables.probes.rank import effective_rank, stable_rank

PROBES: dict[str, Callable[[Probe], Tensor]] = {
    "dormant_fraction": dormant_fraction,
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "weight_norm": weight_norm,
    "gradient_norm": gradient_norm,
}

__all__ = ["EXAMPLES", "PROBES", "Probe"]
