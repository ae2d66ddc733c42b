"""The sharpness-aware optimizers: where they meet, and what they keep."""

from __future__ import annotations

import pytest
import torch

from tests.support.updates import batches, distance, stack_of
from trainables.hyperparameter import hyperparameters
from trainables.networks.network import Network, initial_network
from trainables.networks.stack import Stack
from trainables.optimizers import (
    FSAM,
    GAM,
    GNP,
    GSAM,
    MSAM,
    OPTIMIZERS,
    SAM,
    SGD,
    WSAM,
    LookSAM,
    Optimizer,
    VaSSO,
)
from trainables.setting import Setting
from trainables.steps import reference
from trainables.steps.update import STEPS, begin_task, initial_memory, make_update

MOVING = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.01}
ASCENDING = [kind for kind in OPTIMIZERS.values() if "rho" in hyperparameters(kind)]
engines = pytest.mark.parametrize("engine", STEPS)


def trained(optimizer: Optimizer, engine: str = "torch", steps: int = 8) -> Network:
    setting = Setting(optimizer=optimizer)
    stack = stack_of(setting, [3, 5])
    update = make_update(setting, engine, stack)
    for x, y in batches(steps, 2):
        update(x, y)
    return stack.network


# ---- where they meet


@engines
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (WSAM(wsam_form="coupled", wsam_gamma=0.5, **MOVING), SAM(**MOVING)),
        (WSAM(wsam_form="coupled", wsam_gamma=0.75, **MOVING), GNP(alpha=3, **MOVING)),
        (WSAM(wsam_gamma=0.5), SAM()),
        (WSAM(), WSAM(wsam_form="coupled")),
        (WSAM(wsam_gamma=0, **MOVING), SGD(**MOVING)),
        (GSAM(gsam_alpha=0, **MOVING), SAM(**MOVING)),
        (FSAM(fsam_sigma=0, **MOVING), SAM(**MOVING)),
        (VaSSO(vasso_theta=1, **MOVING), SAM(**MOVING)),
        (LookSAM(looksam_every=1, **MOVING), SAM(rho=0.3, **MOVING)),
        (GAM(gam_rho=0, gam_gamma=0, **MOVING), SAM(rho=0.02, **MOVING)),
        (
            GAM(gam_rho=0, gam_gamma=0.2, gam_beta0=0.5, **MOVING),
            GSAM(rho=0.02, gsam_alpha=0.3, **MOVING),
        ),
        *((kind(rho=0, **MOVING), SGD(**MOVING)) for kind in ASCENDING),
    ],
    ids=lambda part: part.name,
)
def test_where_two_are_the_same(one, other, engine):
    networks = [trained(optimizer, engine) for optimizer in (one, other)]
    assert distance(*networks) < 1e-12


# ---- what they keep


def test_vasso_and_fsam_begin_with_the_first_gradient():
    """Also after an intervention forgets it, and for each seed by itself."""
    for optimizer in (VaSSO(vasso_theta=0.1), FSAM(fsam_lambda=0.2)):
        stack = stack_of(Setting(optimizer=optimizer), [3, 5])
        update = make_update(Setting(optimizer=optimizer), "torch", stack)
        (x, y), *rest = batches(3, 2)
        gradient, _ = reference.loss_gradient(stack.network, x, y)
        update(x, y)
        average = stack.memory.moments["ascent"]
        assert distance(average, gradient) < 1e-15
        update(*rest[0])
        stack.part(0, 1).memory.forget()
        then = average.map(torch.clone)
        gradient, _ = reference.loss_gradient(stack.network, *rest[1])
        update(*rest[1])
        assert distance(average.part(0, 1), gradient.part(0, 1)) < 1e-15
        share = 0.1 if isinstance(optimizer, VaSSO) else 0.8
        expected = (1 - share) * then + share * gradient
        assert distance(average.part(1, 2), expected.part(1, 2)) < 1e-15


@engines
def test_seeds_of_looksam_may_be_due_at_different_updates(engine):
    setting = Setting(optimizer=LookSAM(looksam_every=3, **MOVING))
    together = stack_of(setting, [3, 5])
    stream = batches(7, 2)
    for x, y in stream[:2]:  # the first seed has two updates more
        make_update(setting, engine, together.part(0, 1))(x[:1], y[:1])
    for x, y in stream[2:]:
        make_update(setting, engine, together)(x, y)
    for i, own in enumerate((stream, stream[2:])):
        alone = stack_of(setting, [together.seeds[i]])
        for x, y in own:
            make_update(setting, engine, alone)(x[i : i + 1], y[i : i + 1])
        assert distance(together.network.part(i, i + 1), alone.network) < 1e-12


def test_looksam_reuses_nothing_if_the_ascent_only_rounds():
    """Two outputs of a dead network: both gradients are on the same line."""
    setting = Setting(optimizer=LookSAM(lr=0.1))
    for dtype in (torch.float32, torch.float64):
        network = initial_network([7, 6, 2], [0, 1], dtype=dtype)
        network.biases[0].fill_(-100)
        network.biases[-1][0] += torch.tensor([0.3, -0.4], dtype=dtype)
        memory = initial_memory(setting, network)
        x, y = torch.rand(2, 5, 7, dtype=dtype), torch.tensor([[0, 1, 1, 0, 1]] * 2)
        make_update(setting, "torch", Stack([0, 1], 0, network, memory))(x, y)
        assert all((kept == 0).all() for kept in memory.moments["looksam"].tensors())


@pytest.mark.parametrize("kind", [VaSSO, FSAM, LookSAM, MSAM])
def test_what_they_keep_stays_from_task_to_task(kind):
    setting = Setting(optimizer=kind(**MOVING))
    stack = stack_of(setting, [3])
    (x, y), *_ = batches(1, 1)
    make_update(setting, "torch", stack)(x, y)
    before = {name: t.clone() for name, t in stack.memory.named().items()}
    assert any((t != 0).any() for t in before.values())
    stack.task = 1
    begin_task(setting, stack)
    assert all(torch.equal(t, before[n]) for n, t in stack.memory.named().items())


def test_the_correction_of_wsam_leaves_momentum_alone():
    """The base is that of SGD: with the same momentum buffer after one update."""
    stream = batches(1, 1)
    velocities = []
    for optimizer in (WSAM(**MOVING), SGD(**MOVING)):
        setting = Setting(optimizer=optimizer)
        stack = stack_of(setting, [3])
        make_update(setting, "torch", stack)(*stream[0])
        velocities.append(stack.memory.moments["velocity"])
    assert distance(*velocities) < 1e-15


@engines
def test_both_radii_of_gam_have_the_schedule(engine):
    network, first = (
        trained(GAM(rho=rho, gam_rho=gam_rho, rho_warmup=warmup), engine, steps=1)
        for rho, gam_rho, warmup in ((0.4, 0.2, 4), (0.1, 0.05, None))
    )
    assert distance(network, first) < 1e-12
