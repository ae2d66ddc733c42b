"""The update of each optimizer in our own words, for one network as one vector.

They follow the papers, and share nothing with `trainables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from trainables.bases import Adam
from trainables.optimizers import Optimizer

Slope = Callable[[Tensor], Tensor]
State = dict[str, Any]

TINY = 1e-12


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + TINY)


def sgd(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return slope(w)


def sam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return slope(w + o.rho * unit(slope(w)))


def gnp(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return (1 - o.alpha) * slope(w) + o.alpha * sam(o, w, slope, state)


def asam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    t = torch.where(state["is_bias"], 1, w.abs() + o.eta)
    return slope(w + o.rho * t**2 * slope(w) / (t * slope(w)).norm())


RULES: dict[str, Callable[[Any, Tensor, Slope, State], Tensor]] = {
    rule.__name__: rule for rule in (sgd, sam, gnp, asam)
}


def follow(
    optimizer: Optimizer,
    base: Adam | None,
    w: Tensor,
    slopes: Iterable[Slope],
    is_bias: Tensor,
) -> Tensor:
    """Return the vector w after an update with each slope, by torch's SGD or Adam."""
    moving = w.clone()
    momentum, decay = optimizer.momentum, optimizer.weight_decay
    torchs: torch.optim.Optimizer = (
        torch.optim.SGD([moving], optimizer.lr, momentum, weight_decay=decay)
        if base is None
        else torch.optim.Adam([moving], optimizer.lr, weight_decay=decay)
    )
    buffer = "momentum_buffer" if base is None else "exp_avg"
    state: State = {"is_bias": is_bias}
    for slope in slopes:
        velocity = torchs.state[moving].get(buffer)
        state["velocity"] = torch.zeros_like(w) if velocity is None else velocity
        moving.grad = RULES[optimizer.name](optimizer, moving.clone(), slope, state)
        torchs.step()
        moving += state.pop("after", 0)
    return moving
