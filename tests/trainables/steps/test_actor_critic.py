"""Actors and critics learn in C what they learn with the reference engine."""

import itertools

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.steps.test_native import OPTIMIZERS, SETTINGS, assert_same
from trainables.bases import Adam
from trainables.control.ppo import ppo_gradient
from trainables.interventions import SNR, ContinualBackprop, L2Init
from trainables.networks import ActorCritic
from trainables.networks.network import initial_network
from trainables.networks.stack import Stack
from trainables.optimizers import SGD
from trainables.problems import Form
from trainables.setting import Setting
from trainables.steps import native
from trainables.steps.update import initial_memory, make_update

PLAIN = Setting(optimizer=SGD(lr=0.01), base=Adam())
TENTH = evolve(PLAIN, activation="leaky_relu_tenth", intervention=L2Init())


def new_stack(setting, sizes, seeds, dtype=torch.float64):
    network = initial_network(
        sizes,
        range(seeds),
        dtype=dtype,
        normalized=bool(setting.intervention and setting.intervention.normalizes),
        initialization="pytorch",
        activation=setting.activation,
        kind=ActorCritic(),
        form=Form(1, sizes[0], 1, sizes[-1]),
    )
    return Stack([*range(seeds)], 0, network, initial_memory(setting, network))


def steps_of(sizes, seeds, count, dtype=torch.float64):
    """Return observations and targets; some ratios of probabilities are clipped."""
    random = np.random.default_rng(0)
    shape = seeds, count
    columns = [
        random.integers(sizes[-1], size=shape),
        random.normal(size=shape),
        np.log(random.uniform(0.5, 1.5, shape) / sizes[-1]),
        random.normal(size=shape),
    ]
    inputs = random.normal(size=(*shape, sizes[0]))
    targets = np.stack(columns, axis=-1)
    return [torch.from_numpy(array).to(dtype) for array in (inputs, targets)]


def positions_of(seeds, count, steps, batch):
    random = torch.Generator().manual_seed(1)
    return torch.randint(count, (seeds, steps, batch), generator=random)


@torch.no_grad()
def trained(engine, setting, sizes, blocks, seeds=2, count=60, dtype=torch.float64):
    stack = new_stack(setting, sizes, seeds, dtype)
    inputs, targets = steps_of(sizes, seeds, count, dtype)
    update = make_update(setting, "reference", stack, ppo_gradient)
    for positions in blocks:
        if engine == "native":
            native.train_on_steps(setting, stack, inputs, targets, positions)
            continue
        for batch in positions.unbind(1):
            index = batch.unsqueeze(-1)
            update(*(t.take_along_dim(index, 1) for t in (inputs, targets)))
    return stack, []


def with_optimizer(optimizer):
    return Setting(optimizer=optimizer)


CASES = [
    setting
    for setting in [*map(with_optimizer, OPTIMIZERS), *SETTINGS, PLAIN, TENTH]
    # control refuses interventions that replace units
    if not isinstance(setting.intervention, SNR | ContinualBackprop)
]


@pytest.mark.parametrize(
    ("setting", "batch"), [*zip(CASES, itertools.cycle([1, 3, 17, 32]))], ids=str
)
def test_everything_is_the_same(setting, batch):
    sizes = [5, 20, 20, 3]
    blocks = [positions_of(2, 60, steps, n) for steps, n in ((5, batch), (2, 4))]
    runs = [trained(e, setting, sizes, blocks) for e in ("native", "reference")]
    assert native.supports(setting, runs[0][0].network)
    assert_same(*runs, 1e-9)
    start = new_stack(setting, sizes, 2).network.tensors()
    for learned, first in zip(runs[0][0].network.tensors(), start, strict=True):
        assert not torch.equal(learned, first)  # of the actor and of the critic


@given(
    inputs=st.integers(1, 20),
    hidden=st.lists(st.integers(8, 40), min_size=1, max_size=3),
    actions=st.integers(2, 6),
    batch=st.integers(1, 40),
    setting=st.sampled_from(CASES),
)
def test_any_shape(inputs, hidden, actions, batch, setting):
    blocks = [positions_of(2, 60, 4, batch)]
    sizes = [inputs, *hidden, actions]
    runs = [trained(e, setting, sizes, blocks) for e in ("native", "reference")]
    assert_same(*runs, 1e-7)


def test_float32():
    sizes, blocks = [4, 64, 64, 2], [positions_of(2, 60, 10, 32)]
    single, double = (
        trained("native", TENTH, sizes, blocks, dtype=dtype)[0].network.tensors()
        for dtype in (torch.float32, torch.float64)
    )
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3)


def test_a_stack_is_the_same_as_single_networks():
    sizes, blocks = [4, 20, 20, 2], [positions_of(3, 60, 5, 32)]
    together = trained("native", TENTH, sizes, blocks, seeds=3)[0].network
    alone = new_stack(TENTH, sizes, 3).part(2, 3)
    inputs, targets = steps_of(sizes, 3, 60)
    native.train_on_steps(TENTH, alone, inputs[2:], targets[2:], blocks[0][2:])
    for a, b in zip(together.tensors(), alone.network.tensors(), strict=True):
        assert torch.equal(a[2:], b)


def test_bad_steps_are_refused():
    stack = new_stack(PLAIN, [4, 6, 2], 1)
    inputs, targets = steps_of([4, 6, 2], 1, 10)
    positions = positions_of(1, 10, 2, 3)
    with pytest.raises(ValueError, match="positions must be at least 0 and below 9"):
        native.train_on_steps(
            PLAIN, stack, inputs[:, :9], targets[:, :9], positions.clamp(9)
        )
    with pytest.raises(ValueError, match="actions must be at least 0 and below 2"):
        native.train_on_steps(PLAIN, stack, inputs, targets + 2, positions)
    with pytest.raises(ValueError, match="each step four targets"):
        native.train_on_steps(PLAIN, stack, inputs, targets[..., 1:], positions)
    with pytest.raises(ValueError, match="one number per network input"):
        native.train_on_steps(PLAIN, stack, inputs[..., 1:], targets, positions)
