"""Each optimizer beside a loop after its authors' code: same weights, same batches.

`tests.support.rules` has the loops in our own words, and `docs/optimizers.md` the
authors' repositories and lines. Everything is in float64, and after 60 steps (with `-m
chaos` 200) all weights agree within 1e-9 in both engines of torch.
"""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.rules import follow, unit
from trainables.bases import Adam
from trainables.networks.network import initial_network
from trainables.networks.stack import Stack
from trainables.optimizers import (
    FSAM,
    GAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    WSAM,
    LookSAM,
    Optimizer,
    VaSSO,
)
from trainables.setting import Setting
from trainables.steps.update import STEPS, initial_memory, make_update

SIZES = [7, 6, 5, 4]
STEPS_TAKEN = 60
LIMIT = 1e-9


@functools.cache
def batches(steps: int = STEPS_TAKEN) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(1)
    inputs = torch.rand(steps, 8, SIZES[0], generator=random, dtype=torch.float64)
    labels = torch.randint(0, SIZES[-1], (steps, 8), generator=random)
    return list(zip(inputs, labels, strict=True))


SHAPES = [tensor.shape[1:] for tensor in initial_network(SIZES, [0]).tensors()]
COUNTS = [shape.numel() for shape in SHAPES]


def slope(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """Return the gradient of the loss of a network whose numbers are the vector w."""
    w = w.detach().requires_grad_()
    pairs = zip(w.split(COUNTS), SHAPES, strict=True)
    w1, w2, w3, b1, b2, b3 = (part.reshape(shape) for part, shape in pairs)
    logits = F.relu(F.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y), w)
    return gradient


def vector(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor[0].flatten() for tensor in tensors])


def start() -> Tensor:
    return vector(initial_network(SIZES, [3], dtype=torch.float64).tensors())


def trained(setting: Setting, engine: str, steps: int = STEPS_TAKEN) -> Tensor:
    network = initial_network(SIZES, [3], dtype=torch.float64)
    stack = Stack([3], 0, network, initial_memory(setting, network))
    update = make_update(setting, engine, stack)
    for x, y in batches(steps):
        update(x[None], y[None])
    return vector(network.tensors())


MOVING = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.01}
STILL = {"lr": 0.003, "weight_decay": 0.01, "momentum": 0}


@pytest.mark.parametrize(
    "steps", [STEPS_TAKEN, pytest.param(200, marks=pytest.mark.chaos)]
)
@pytest.mark.parametrize(
    ("optimizer", "base"),
    [
        (WSAM(rho=0.1, **MOVING), None),
        (WSAM(rho=0.1, wsam_form="coupled", **MOVING), None),
        (WSAM(rho=0.1, wsam_gamma=0.6, **STILL), Adam()),
        (GNP(rho=0.1, alpha=3, **MOVING), None),
        (GSAM(rho=0.1, **MOVING), None),
        (FSAM(rho=0.1, **MOVING), None),
        (FSAM(rho=0.1, **STILL), Adam()),
        (VaSSO(rho=0.1, vasso_theta=0.4, **MOVING), None),
        (MSAM(**MOVING), None),
        (MSAM(**STILL), Adam()),
        (LookSAM(**MOVING), None),
        (GAM(rho=0.1, gam_gamma=0.3, **MOVING), None),
    ],
    ids=lambda part: part and part.name,
)
def test_it_is_its_authors(optimizer: Optimizer, base: Adam | None, steps: int):
    is_bias = torch.arange(sum(COUNTS)) >= sum(COUNTS[:3])
    slopes = [functools.partial(slope, x, y) for x, y in batches(steps)]
    expected = follow(optimizer, base, start(), slopes, is_bias)
    assert (expected - start()).abs().max() > 0.1
    for engine in STEPS:
        got = trained(Setting(optimizer=optimizer, base=base), engine, steps)
        assert (got - expected).abs().max() < LIMIT


def test_msam_is_beckers_with_weights_that_stay_perturbed():
    """msam.py:36-100 keeps them perturbed from one step to the next."""
    o = MSAM(lr=0.05, rho=0.2)
    w, v = start(), torch.zeros_like(start())
    for x, y in batches():
        g = slope(x, y, w)
        w = w + o.rho * unit(v)
        v = o.momentum * v + g
        w = w - o.lr * v
        w = w - o.rho * unit(v)
    assert (
        trained(Setting(optimizer=o), "torch") - (w + o.rho * unit(v))
    ).abs().max() < LIMIT


def test_the_rules_differ_from_sams():
    """None of the loops above could be that of SAM."""
    sam = trained(Setting(optimizer=SAM(rho=0.1, **MOVING)), "torch", 5)
    for kind in (WSAM, GSAM, FSAM, VaSSO, MSAM, LookSAM, GAM):
        other = trained(Setting(optimizer=kind(rho=0.1, **MOVING)), "torch", 5)
        assert (other - sam).abs().max() > 1e-5
