"""How far the weights moved, in all and in this task: L2 norms in float64."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from trainables.network import Network
from trainables.probes.measure import network_probe
from trainables.probes.norms import layer_norms
from trainables.probes.snapshot import Snapshot
from trainables.steps.reference import norm

KUMAR = "Kumar et al. 2023 (arXiv 2308.11958)"
LYLE = "Lyle et al. 2023 (arXiv 2303.01486)"


@network_probe(
    unit="", source=KUMAR, meaning="L2 distance of the weights from the initial ones"
)
def initial_distance(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return ||w - w_0||, w_0 the initial weights; L2-init penalizes its square."""
    return norm(_difference(snapshot.network, snapshot.initial)).flatten()


@network_probe(unit="", source=KUMAR, meaning="initial_distance by layer", is_list=True)
def layer_initial_distance(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """Return ||w - w_0|| of each layer."""
    return layer_norms(_difference(snapshot.network, snapshot.initial))


@network_probe(
    unit="",
    source=LYLE,
    meaning="L2 distance of the weights from those before the task",
)
def update_norm(snapshot: Snapshot) -> Float[Tensor, " S"]:
    """Return ||w - w'||, w' the weights before this task."""
    return norm(_difference(snapshot.network, snapshot.before)).flatten()


@network_probe(unit="", source=LYLE, meaning="update_norm by layer", is_list=True)
def layer_update_norm(snapshot: Snapshot) -> Float[Tensor, "S layers"]:
    """Return ||w - w'|| of each layer."""
    return layer_norms(_difference(snapshot.network, snapshot.before))


def _difference(network: Network, origin: Network) -> Network:
    origins = iter(origin.tensors())
    return network.map(lambda tensor: tensor.double() - next(origins).double())
