"""The gradient of each optimizer, written again for one network as one vector.

These functions follow the papers and the authors' code, which `docs/optimizers.md`
cites. They share no code with `trainables`.
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


def rejection(one: Tensor, other: Tensor) -> Tensor:
    """Return the part of `one` that is orthogonal to `other`.

    The epsilons are as in the authors' code.
    """
    cosine = torch.sum(one * other) / (one.norm() * other.norm() + TINY)
    return one - cosine * one.norm() * other / (other.norm() + TINY)


def sgd(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return slope(w)


def sam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return slope(w + o.rho * unit(slope(w)))


def gnp(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return (1 - o.alpha) * slope(w) + o.alpha * sam(o, w, slope, state)


def asam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    t = torch.where(state["is_bias"], 1, w.abs() + o.eta)
    return slope(w + o.rho * t**2 * slope(w) / (t * slope(w)).norm())


def wsam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    g1, g2 = slope(w), sam(o, w, slope, state)
    weight = o.wsam_gamma / (1 - o.wsam_gamma)
    if o.wsam_form == "coupled":
        return weight * g2 + (1 - weight) * g1
    state["after"] = -o.lr * weight * (g2 - g1)
    return g1


def gsam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    g2 = sam(o, w, slope, state)
    return g2 - o.gsam_alpha * rejection(slope(w), g2)


def fsam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    g = slope(w)
    direction = g
    if "mean" in state:
        direction = g - o.fsam_sigma * state["mean"]
        state["mean"] = o.fsam_lambda * state["mean"] + (1 - o.fsam_lambda) * g
    else:
        state["mean"] = g
    return slope(w + o.rho * unit(direction))


def vasso(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    g = slope(w)
    share = o.vasso_theta
    state["mean"] = (1 - share) * state["mean"] + share * g if "mean" in state else g
    return slope(w + o.rho * unit(state["mean"]))


def msam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    return slope(w - o.rho * unit(state["velocity"]))


def looksam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    g = slope(w)
    state["since"] = (state.get("since", -1) + 1) % o.looksam_every
    if state["since"]:
        return g + o.looksam_alpha * g.norm() * state["orthogonal"]
    g2 = sam(o, w, slope, state)
    orthogonal = g2 - torch.sum(g * g2) / (g.norm() ** 2 + TINY) * g
    state["orthogonal"] = orthogonal / orthogonal.norm()
    return g2


def gam(o: Any, w: Tensor, slope: Slope, state: State) -> Tensor:
    g0 = slope(w)
    g1 = slope(w + o.rho * unit(g0))
    perturbed = w + o.gam_rho * unit(g1 - g0)
    g2 = slope(perturbed)
    g3 = slope(perturbed + o.rho * unit(g2))
    beta2, beta3 = 1 - o.gam_beta0, 1 - o.gam_beta1
    subtracted = g0 + abs(beta2) * g2
    summed = o.gam_beta1 * g1 + beta3 * g3
    return summed - o.gam_gamma * rejection(subtracted, summed)


RULES: dict[str, Callable[[Any, Tensor, Slope, State], Tensor]] = {
    rule.__name__: rule
    for rule in (
        *(sgd, sam, gnp, asam, wsam, gsam),
        *(fsam, vasso, msam, looksam, gam),
    )
}


def follow(
    optimizer: Optimizer,
    base: Adam | None,
    w: Tensor,
    slopes: Iterable[Slope],
    is_bias: Tensor,
) -> Tensor:
    """Return the vector w after one update per function in `slopes`.

    Such a function returns the gradient of a batch at a vector. torch.optim takes the
    steps, with SGD or Adam.
    """
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
