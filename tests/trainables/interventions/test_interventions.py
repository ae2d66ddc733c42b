"""Each intervention does what its paper says, by closed form."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.bases import Adam
from trainables.interventions import (
    INTERVENTIONS,
    SNR,
    UPGD,
    ContinualBackprop,
    Fresh,
    HareTortoise,
    HeadReset,
    HeadZero,
    L2Init,
    LayerNorm,
    Parseval,
    ReDo,
    SpectralNorm,
    SpectralRegularization,
    StepShrinkPerturb,
    WarmStart,
)
from trainables.interventions.units.redo import SCORED
from trainables.interventions.weights.spectral_norm import largest_singular_value
from trainables.networks.network import Network, forward, initial_network
from trainables.networks.stack import Memory, Stack
from trainables.optimizers import SAM, SGD
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.steps import fast, reference
from trainables.steps.update import initial_memory, make_update

Test = TypeVar("Test")

SIZES = [784, 12, 10, 10]
SEEDS = [5, 0, 2]


def stack_of(
    setting: Setting, task: int = 0, dtype=torch.float64, sizes=SIZES
) -> Stack:
    intervention = setting.intervention
    normalized = intervention is not None and intervention.normalizes
    network = initial_network(
        sizes,
        SEEDS,
        dtype=dtype,
        normalized=normalized,
        activation=setting.activation,
        initialization=setting.initialization,
    )
    return Stack(SEEDS, task, network, initial_memory(setting, network))


def batches(steps: int, dtype=torch.float64) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(3, 16, 784, generator=random, dtype=dtype),
            torch.randint(0, 10, (3, 16), generator=random),
        )
        for _ in range(steps)
    ]


def copies(stack: Stack) -> list[Tensor]:
    return [tensor.clone() for tensor in stack.network.tensors()]


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0


def fill(memory: Memory, value: float) -> None:
    """Let all moments be something, to see which become 0."""
    for moment in memory.moments.values():
        for tensor in moment.tensors():
            tensor.fill_(value)


CLOSED_FORMS: set[str] = set()
"""The interventions that a test compares with their paper."""


def closed_form(name: str) -> Callable[[Test], Test]:
    """Mark a test as the one that compares an intervention with its paper."""
    CLOSED_FORMS.add(name)
    return lambda test: test


def test_every_intervention_has_a_closed_form():
    assert set(INTERVENTIONS) == CLOSED_FORMS


# ---- L2-init


@closed_form("l2_init")
@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, momentum=0.5), SAM(lr=0.1, rho=0.1)])
def test_l2_init_is_the_gradient_of_its_penalty(optimizer):
    """From torch.optim.SGD on L + (init_decay / 2) ||w - w0||^2; SAM's L is above."""
    setting = Setting(optimizer=optimizer, intervention=L2Init(init_decay=0.3))
    stack = stack_of(setting)
    origin = copies(stack)
    theirs = [t.clone().requires_grad_() for t in origin]
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=optimizer.momentum)
    update = make_update(setting, "torch", stack)
    for x, y in batches(10):
        here = stack.network.like([t.detach() for t in theirs])
        slope, *_ = reference.gradient(here, Memory(), optimizer, x, y)
        penalty = sum(
            0.15 * (t - t0).square().sum() for t, t0 in zip(theirs, origin, strict=True)
        )
        pull = torch.autograd.grad(penalty, theirs)
        for t, a, b in zip(theirs, slope.tensors(), pull, strict=True):
            t.grad = a + b
        sgd.step()
        update(x, y)
    for mine, other in zip(stack.network.tensors(), theirs, strict=True):
        torch.testing.assert_close(mine, other.detach(), rtol=0, atol=1e-12)


def test_l2_init_alone_goes_back_to_where_it_began():
    """With no gradient, w - w0 shrinks by 1 - lr init_decay a step."""
    setting = Setting(optimizer=SGD(lr=0.5), intervention=L2Init(init_decay=0.2))
    stack = stack_of(setting)
    origin = copies(stack)
    for tensor in stack.network.tensors():
        tensor += 1
    nothing = stack.network.zeros_like()
    for _ in range(3):
        slope = nothing.map(torch.clone)
        setting.intervention.penalize(stack, slope)
        reference.descend(stack.network, None, setting.optimizer, slope, 0.5)
    for now, then in zip(stack.network.tensors(), origin, strict=True):
        torch.testing.assert_close(now - then, torch.full_like(now, 0.9**3))


# ---- layer normalization


@closed_form("layer_norm")
def test_layer_norm_is_torchs():
    stack = stack_of(Setting(intervention=LayerNorm()))
    network = stack.network
    for bias in network.biases:
        bias += torch.rand(bias.shape, dtype=bias.dtype)
    (x, _), *_ = batches(1)
    layers, logits = forward(network, x)
    for seed in range(3):
        h = x[seed]
        for i, (w, b) in enumerate(zip(network.weights, network.biases, strict=True)):
            torch.testing.assert_close(layers[i][seed], h)
            z = h @ w[seed]
            if i < 2:
                h = F.relu(F.layer_norm(z, z.shape[1:]) + b[seed])
        torch.testing.assert_close(logits[seed], z + b[seed])


def test_layer_norm_takes_the_scale_out_of_the_hidden_weights():
    network = stack_of(Setting(intervention=LayerNorm())).network
    (x, _), *_ = batches(1)
    _, before = forward(network, x)
    for w in network.weights[:-1]:
        w *= 1000
    torch.testing.assert_close(forward(network, x)[1], before, rtol=1e-4, atol=1e-6)
    plain_one = initial_network(SIZES, SEEDS, dtype=torch.float64)
    plain_one.weights[0] *= 1000
    assert forward(plain_one, x)[1].abs().max() > 100 * before.abs().max()


def test_whatever_is_made_of_a_normalized_network_is_one():
    network = initial_network(SIZES, SEEDS, normalized=True)
    made = [
        network.map(torch.clone),
        network.part(0, 1),
        network.take([1]),
        network.zeros_like(),
        network + SAM().ascent(network, network, 0.05),
    ]
    assert all(one.normalized for one in made)
    assert not initial_network(SIZES, SEEDS).normalized


# ---- spectral normalization


@closed_form("spectral_norm")
@pytest.mark.parametrize(
    ("base", "sizes", "dtype", "tolerance"),
    [
        (None, [784, 40, 10], torch.float32, 1e-5),
        (Adam(), [784, 40, 10], torch.float64, 1e-12),
        (None, [784, 12, 30, 10], torch.float64, 1e-12),
        (Adam(), [784, 12, 30, 10], torch.float32, 1e-5),
    ],
)
def test_the_spectral_norm_is_at_most_its_bound_after_every_step(
    base, sizes, dtype, tolerance
):
    intervention = SpectralNorm(spectral_bound=0.7)
    setting = Setting(optimizer=SAM(lr=0.2), base=base, intervention=intervention)
    stack = stack_of(setting, dtype=dtype, sizes=sizes)
    free = stack.network.weights[-1].clone()
    update, met = make_update(setting, "torch", stack), 0
    for x, y in batches(30, dtype):
        update(x, y)
        sizes_now = torch.linalg.matrix_norm(stack.network.weights[-2].double(), 2)
        assert (sizes_now <= 0.7 * (1 + tolerance)).all()
        met += int((sizes_now > 0.69).sum())
    assert met > 10
    assert (stack.network.weights[-1] - free).abs().max() > 0.01


def test_weights_within_the_bound_are_not_touched():
    networks = []
    for intervention in (None, SpectralNorm(spectral_bound=100)):
        setting = Setting(intervention=intervention)
        stack = stack_of(setting)
        for x, y in batches(5):
            make_update(setting, "torch", stack)(x, y)
        networks.append(stack.network)
    for one, other in zip(*(n.tensors() for n in networks), strict=True):
        assert torch.equal(one, other)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_the_largest_singular_value_is_that_of_the_svd(seed, rows, columns):
    random = np.random.default_rng(seed)
    w = torch.from_numpy(random.normal(size=(3, rows, columns)))
    w[1] = 0
    expected = torch.linalg.svdvals(w)[:, 0]
    got = largest_singular_value(w)
    assert got.shape == (3, 1, 1)
    torch.testing.assert_close(got.flatten(), expected, rtol=1e-10, atol=1e-10)


# ---- spectral regularization


@closed_form("spectral_regularization")
@pytest.mark.parametrize("power", [1, 2])
def test_spectral_regularization_is_the_gradient_of_its_penalty(power):
    """Once the power method has converged, which it does while the weights stay."""
    intervention = SpectralRegularization(spectral_strength=0.3, spectral_power=power)
    stack = stack_of(Setting(intervention=intervention))
    for bias in stack.network.biases:
        bias += torch.rand(bias.shape, dtype=bias.dtype)
    for _ in range(1000):
        slope = stack.network.zeros_like()
        intervention.penalize(stack, slope)
    leaves = stack.network.map(lambda t: t.clone().requires_grad_())
    with torch.enable_grad():
        sizes = [torch.linalg.matrix_norm(w, 2) for w in leaves.weights]
        norms = [b.square().sum((1, 2)) for b in leaves.biases]
        penalty = sum(((s**power - 1) ** 2).sum() for s in sizes) + sum(
            (n**power).sum() for n in norms
        )
        expected = torch.autograd.grad(0.3 * penalty, leaves.tensors())
    for mine, theirs in zip(slope.tensors(), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_spectral_regularization_alone_brings_every_layer_to_one():
    intervention = SpectralRegularization(spectral_strength=1)
    setting = Setting(optimizer=SGD(lr=0.01), intervention=intervention)
    stack = stack_of(setting)
    for _ in range(1000):
        slope = stack.network.zeros_like()
        intervention.penalize(stack, slope)
        reference.descend(stack.network, None, setting.optimizer, slope, 0.01)
    for w in stack.network.weights:
        sizes = torch.linalg.matrix_norm(w, 2)
        torch.testing.assert_close(sizes, torch.ones_like(sizes), rtol=0.05, atol=0)


# ---- Parseval


@closed_form("parseval")
def test_parseval_is_the_gradient_of_its_penalty():
    """And without a loss, it makes the units' weights orthogonal, of length sqrt(2)."""
    intervention = Parseval(parseval_strength=0.3)
    setting = Setting(optimizer=SGD(lr=1e-3), intervention=intervention)
    stack = stack_of(setting)
    before = copies(stack)
    for step in range(300):
        slope = stack.network.zeros_like()
        intervention.penalize(stack, slope)
        if step == 0:
            leaves = [w.clone().requires_grad_() for w in stack.network.weights[:-1]]
            with torch.enable_grad():
                products = [w.mT @ w - 2 * torch.eye(w.shape[2]) for w in leaves]
                penalty = sum(
                    (64 / p.shape[2]) ** 2 * p.square().sum() for p in products
                )
                expected = torch.autograd.grad(0.3 * penalty, leaves)
            for mine, theirs in zip(slope.weights[:-1], expected, strict=True):
                torch.testing.assert_close(mine, theirs)
        reference.descend(stack.network, None, setting.optimizer, slope, 1e-3)
    for w in stack.network.weights[:-1]:
        target = 2 * torch.eye(w.shape[2], dtype=w.dtype).expand(3, -1, -1)
        torch.testing.assert_close(w.mT @ w, target, rtol=0, atol=0.05)
    for now, then in zip(copies(stack)[2:], before[2:], strict=True):
        assert torch.equal(now, then)  # the output layer and all biases


# ---- UPGD


@closed_form("upgd")
def test_upgd_gates_by_utility():
    """The weight of most utility moves by a share of 1 - sigmoid(1), at first."""
    intervention = UPGD(upgd_decay=0, upgd_noise=0)
    stack = stack_of(Setting(intervention=intervention))
    (x, y), *_ = batches(1)
    slope, _ = reference.loss_gradient(stack.network, x, y)
    gated = slope.map(torch.clone)
    stack.memory.marks["steps"] += 1
    intervention.penalize(stack, gated)
    for seed in range(3):
        flat = [
            torch.cat([t[seed].flatten() for t in n.tensors()])
            for n in (slope, gated, stack.network)
        ]
        g, mine, w = flat
        utility = -g * w
        most = utility.argmax()
        expected = float(g[most]) * (1 - 1 / (1 + np.exp(-1)))
        assert float(mine[most]) == pytest.approx(expected)
        useless = (utility == 0) & (g != 0)
        assert useless.any()  # biases, which are 0
        torch.testing.assert_close(mine[useless], g[useless] / 2)
        harmful = utility < 0
        assert (mine[harmful].abs() >= g[harmful].abs() / 2).all()


def test_upgd_perturbs_what_has_no_utility():
    """Without a gradient, the noise is halved."""
    intervention = UPGD(upgd_noise=0.4)
    stack = stack_of(Setting(intervention=intervention), sizes=[784, 100, 10])
    stack.memory.marks["steps"] += 1
    slope = stack.network.zeros_like()
    intervention.penalize(stack, slope)
    for seed in range(3):
        assert slope.weights[0][seed].std().item() == pytest.approx(0.2, rel=0.02)
    assert not torch.equal(slope.weights[0][0], slope.weights[0][1])


# ---- Hare and Tortoise


@closed_form("hare_tortoise")
def test_the_hare_returns_to_the_average_of_its_way():
    """In a constant wind, the average is known: a geometric sum of the weights."""
    intervention = HareTortoise(hare_ema=0.8, hare_every=4)
    setting = Setting(optimizer=SGD(momentum=0.9), intervention=intervention)
    stack = stack_of(setting)
    start = copies(stack)
    fill(stack.memory, 7)

    def wind(inputs: Tensor, labels: Tensor) -> Tensor:
        for tensor in stack.network.tensors():
            tensor += 1
        return inputs

    (x, y), *_ = batches(1)
    for step in range(1, 5):
        intervention.step(stack, wind, x, y)
        way = sum(0.2 * 0.8 ** (step - k) * k for k in range(1, step + 1))
        expected = way if step == 4 else step
        for now, then in zip(stack.network.tensors(), start, strict=True):
            torch.testing.assert_close(now - then, torch.full_like(now, expected))
    slow = stack.memory.kept["tortoise"].tensors()
    for now, average in zip(stack.network.tensors(), slow, strict=True):
        assert torch.equal(now, average)
        assert now.data_ptr() != average.data_ptr()
    velocity = stack.memory.moments["velocity"].tensors()
    assert all((moment == 7).all() for moment in velocity)


# ---- shrink and perturb


@closed_form("warm_start")
def test_a_warm_start_mixes_the_weights_with_a_fresh_initialization():
    """And forgets the moments, and how often Adam has updated."""
    intervention = WarmStart(shrink=0.4, fresh_share=0.2)
    setting = Setting(base=Adam(), intervention=intervention)
    fresh = []
    for task in (1, 1, 2):
        stack = stack_of(setting, task=task)
        for bias in stack.network.biases:
            bias += 1
        fill(stack.memory, 7)
        stack.memory.marks["updates"].fill_(7)
        before = copies(stack)
        intervention.begin_task(stack)
        parts = [
            (now - 0.4 * then) / 0.2
            for now, then in zip(stack.network.tensors(), before, strict=True)
        ]
        fresh.append(parts)
        for fan_in, gain, w in zip(SIZES[:-1], (6, 6, 3), parts[:3], strict=True):
            bound = (gain / fan_in) ** 0.5
            assert 0.9 * bound < w.abs().max() <= bound * (1 + 1e-12)
            assert w.mean().abs() < 5 * bound / w.numel() ** 0.5
        assert all(distance(b, torch.zeros_like(b)) < 1e-12 for b in parts[3:])
        assert all((tensor == 0).all() for tensor in stack.memory.named().values())
    assert torch.equal(fresh[0][0], fresh[1][0])
    assert not torch.equal(fresh[0][0], fresh[2][0])
    assert not torch.equal(fresh[0][0][0], fresh[0][0][1])


def test_a_warm_start_without_fresh_weights_shrinks_exactly():
    setting = Setting(intervention=WarmStart(shrink=0.5, fresh_share=0))
    stack = stack_of(setting, task=3)
    before = copies(stack)
    setting.intervention.begin_task(stack)
    for now, then in zip(stack.network.tensors(), before, strict=True):
        assert torch.equal(now, then * 0.5)


@closed_form("step_shrink_perturb")
@pytest.mark.parametrize(
    ("noise", "initialization", "scale", "bias_scale"),
    [
        ("initial", None, (2 / 784) ** 0.5, 0),  # a Kaiming uniform weight
        ("initial", "pytorch", (1 / 3 / 784) ** 0.5, (1 / 3 / 784) ** 0.5),
        ("normal", None, 1, 1),
    ],
)
def test_every_step_shrinks_and_perturbs_with_the_moments_it_says(
    noise, initialization, scale, bias_scale
):
    """784 * 300 weights: the moments are known to about 0.3%.

    The standard deviations are those of a weight and a bias of the first layer. Over T
    steps the noise adds up to the variance (1 - s^2T) / (1 - s^2), s = 1 - p.
    """
    intervention = StepShrinkPerturb(
        step_shrink=0.2, step_perturb=0.1, step_noise=noise
    )
    setting = Setting(
        optimizer=SGD(lr=1e-9),
        intervention=intervention,
        initialization=initialization,
    )
    stack = stack_of(setting, task=1, sizes=[784, 300, 10])
    before = copies(stack)
    update, steps = make_update(setting, "torch", stack), 5
    for x, y in batches(steps):
        update(x, y)
    growth = ((1 - 0.8 ** (2 * steps)) / (1 - 0.8**2)) ** 0.5
    for seed in range(3):
        sums = [
            now[seed] - 0.8**steps * then[seed]
            for now, then in zip(stack.network.tensors(), before, strict=True)
        ]
        size = 0.1 * scale * growth
        assert sums[0].std().item() == pytest.approx(size, rel=0.01)
        assert sums[0].mean().abs() < 5 * size / sums[0].numel() ** 0.5
        bias_size = 0.1 * bias_scale * growth  # 300 biases
        assert sums[2].std().item() == pytest.approx(bias_size, rel=0.15, abs=1e-6)
        then = before[0][seed].flatten()
        assert abs(np.corrcoef(sums[0].flatten(), then)[0, 1]) < 0.01


def test_shrinking_every_step_is_weight_decay():
    """With SGD: (1 - p)(w - lr g) for w - lr g - p (w - lr g)."""
    runs = []
    for shrink in (0.1, 0):
        intervention = StepShrinkPerturb(step_shrink=shrink, step_perturb=0)
        setting = Setting(optimizer=SGD(lr=0.1), intervention=intervention)
        stack = stack_of(setting)
        (x, y), *_ = batches(1)
        make_update(setting, "torch", stack)(x, y)
        runs.append(stack.network.tensors())
    for mine, theirs in zip(*runs, strict=True):
        torch.testing.assert_close(mine, 0.9 * theirs, rtol=1e-14, atol=0)


# ---- resets

UNPROBED = RunOptions(landscape_every=0)


@pytest.mark.parametrize(
    "intervention",
    [WarmStart(), HeadReset(), HeadZero(), Fresh()],
    ids=lambda i: i.name,
)
def test_nothing_is_reset_before_the_first_task(intervention, few):
    networks = []
    for one in (None, intervention):
        setting = Setting(dataset="mnist-5k", hidden=(12,), intervention=one)
        run = ContinualRun(setting, [4, 1], few, options=UNPROBED)
        run.next_task()
        networks.append(run.network)
    for now, then in zip(*(n.tensors() for n in networks), strict=True):
        assert torch.equal(now, then)


@closed_form("head_reset")
def test_a_head_reset_draws_the_head_and_nothing_else():
    setting = Setting(optimizer=SGD(momentum=0.9), intervention=HeadReset())
    heads = []
    for task in (1, 1, 2):
        stack = stack_of(setting, task=task)
        stack.network.biases[-1].fill_(3)
        fill(stack.memory, 7)
        before = copies(stack)
        setting.intervention.begin_task(stack)
        heads.append(stack.network.weights[-1].clone())
        names = ["w", "w", "head", "b", "b", "bias"]
        velocity = stack.memory.moments["velocity"].tensors()
        for name, now, then, moment in zip(
            names, stack.network.tensors(), before, velocity, strict=True
        ):
            kept = name in ("w", "b")
            assert torch.equal(now, then) == kept
            assert (moment == (7 if kept else 0)).all()
        assert (stack.network.biases[-1] == 0).all()
    assert torch.equal(heads[0], heads[1])
    assert len({head[0, 0, 0].item() for head in heads}) == 2
    bound = (3 / 10) ** 0.5
    assert 0.9 * bound < heads[0].abs().max() <= bound
    assert not torch.equal(heads[0][0], heads[0][1])


@closed_form("head_zero")
def test_a_head_of_zero_forgets_the_answers_and_nothing_else():
    """All answers are equally likely, and the moments stay."""
    setting = Setting(optimizer=SGD(momentum=0.9), intervention=HeadZero())
    stack = stack_of(setting, task=1)
    stack.network.biases[-1].fill_(3)
    fill(stack.memory, 7)
    before = copies(stack)
    setting.intervention.begin_task(stack)
    (x, y), *_ = batches(1)
    layers, logits = forward(stack.network, x)
    assert (logits == 0).all()
    assert all((h != 0).any() for h in layers)
    for i, (now, then) in enumerate(zip(copies(stack), before, strict=True)):
        assert torch.equal(now, then) == (i not in (2, 5))
    velocity = stack.memory.moments["velocity"].tensors()
    assert all((moment == 7).all() for moment in velocity)
    # the hidden layers wait for the head at the first update, and learn at the second
    slope, _ = reference.loss_gradient(stack.network, x, y)
    assert [(g != 0).any().item() for g in slope.weights] == [False, False, True]


@closed_form("fresh")
@pytest.mark.parametrize("initialization", [None, "pytorch"])
def test_a_fresh_run_learns_every_task_from_the_initial_weights(few, initialization):
    """As a run learns it that has had no task before."""
    setting = Setting(
        optimizer=SGD(lr=0.05),
        base=Adam(),
        intervention=Fresh(),
        dataset="mnist-5k",
        tasks=3,
        batch_size=8,
        hidden=(12, 10),
        initialization=initialization,
    )
    one = ContinualRun(setting, [4, 1], few, options=UNPROBED)
    rows = [one.next_task() for _ in range(3)]
    for task in (0, 1, 2):
        other = ContinualRun(setting, [4, 1], few, options=UNPROBED)
        other.task = task
        for mine, theirs in zip(rows[task], other.next_task(), strict=True):
            same = {n: v for n, v in mine.items() if n != "seconds"}
            assert same == {n: v for n, v in theirs.items() if n != "seconds"}


@pytest.mark.parametrize("activation", [None, "crelu"])
def test_a_reset_draws_from_the_initialization_of_the_network(activation):
    """nn.Linear's: biases too, and no weight beyond 1 / sqrt(inputs)."""
    start = initial_network(
        SIZES, SEEDS, initialization="pytorch", activation=activation
    )
    stack = Stack(SEEDS, 1, start.map(torch.zeros_like), Memory())
    Fresh().begin_task(stack)
    pairs = zip(stack.network.tensors(), start.tensors(), strict=True)
    assert all(torch.equal(now, then) for now, then in pairs)
    HeadReset().begin_task(stack)
    bound = stack.network.weights[-1].shape[1] ** -0.5
    for now, then in ((n.weights[-1], n.biases[-1]) for n in (stack.network, start)):
        assert 0.8 * bound < now.abs().max() <= bound
        assert 0.5 * bound < then.abs().max() <= bound
    assert not torch.equal(stack.network.weights[-1], start.weights[-1])


# ---- continual backprop


def judged(stack: Stack, intervention: ContinualBackprop, outputs: list[Tensor]):
    """Return which units were replaced, as (layer, seed, unit).

    There is one example, of which the units put out `outputs`.
    """
    before = [w.clone() for w in stack.network.weights[:-1]]
    intervention.judge(stack, [h[:, None] for h in outputs])
    return [
        (layer, *where)
        for layer, then in enumerate(before)
        for where in (stack.network.weights[layer] != then).all(1).nonzero().tolist()
    ]


def test_printed_continual_backprop_replaces_the_mature_unit_of_least_utility():
    intervention = ContinualBackprop(
        replacement_rate=0.03, maturity=3, utility_decay=0.5, utility="printed"
    )
    setting = Setting(optimizer=SGD(momentum=0.9), intervention=intervention)
    stack = stack_of(setting)
    network, memory = stack.network, stack.memory
    fill(memory, 7)
    random = torch.Generator().manual_seed(1)
    outputs = [
        torch.rand(3, width, generator=random, dtype=torch.float64) + 0.1
        for width in SIZES[1:-1]
    ]
    # the naive account of the paper's algorithm
    utility = [torch.zeros(3, width) for width in SIZES[1:-1]]
    for step in range(1, 7):
        for u, h, w in zip(utility, outputs, network.weights[1:], strict=True):
            u.mul_(0.5).add_(0.5 * h * w.abs().sum(2))
        replaced = judged(stack, intervention, outputs)
        # 12 units of the first layer are worth 0.36 a step from the fourth on
        assert len(replaced) == (3 if step == 6 else 0)
    for layer, seed, unit in replaced:
        assert layer == 0
        assert unit == utility[0][seed].argmin()
    # outgoing weights, bias, age, utility and moments of it are 0, of others not
    for _, seed, unit in replaced:
        others = [u for u in range(12) if u != unit]
        velocity = memory.moments["velocity"]
        assert (network.weights[1][seed, unit] == 0).all()
        assert (network.weights[1][seed, others] != 0).all()
        assert network.biases[0][seed, 0, unit] == 0
        for name, age in (("utility", None), ("age", 6)):
            assert memory.marks[name][seed, unit] == 0
            assert (memory.marks[name][seed, others] > 0).all()
            assert age is None or (memory.marks[name][seed, others] == age).all()
        assert (velocity.weights[0][seed, :, unit] == 0).all()
        assert (velocity.weights[0][seed][:, others] == 7).all()
        assert (velocity.weights[1][seed, unit] == 0).all()
        assert (velocity.weights[1][seed, others] == 7).all()
        assert velocity.biases[0][seed, 0, unit] == 0
        bound = (6 / 784) ** 0.5
        assert 0.9 * bound < network.weights[0][seed, :, unit].abs().max() <= bound
    # a unit that is not mature is safe, however useless
    marks = memory.marks
    marks["account"].fill_(5)
    marks["utility"][:, 4] = -1
    marks["age"][:, 4] = 1
    for _, _, unit in (r for r in judged(stack, intervention, outputs) if r[0] == 0):
        assert unit != 4


@closed_form("continual_backprop")
def test_a_replaced_unit_leaves_the_function_but_for_its_own_part():
    """The logits are those of the old network with the unit taken out."""
    intervention = ContinualBackprop(replacement_rate=1, maturity=0, utility="printed")
    setting = Setting(intervention=intervention)
    stack = stack_of(setting, sizes=[784, 12, 10])
    network = stack.network
    for bias in network.biases:
        bias += torch.rand(bias.shape, dtype=bias.dtype)
    (x, _), *_ = batches(1)
    hidden = forward(network, x)[0][1]
    w, b = network.weights[1].clone(), network.biases[1].clone()
    outputs = hidden.mean(1)
    replaced = judged(stack, intervention, [outputs.masked_fill(outputs == 0, 1e9)])
    assert len(replaced) == 3
    without = hidden.clone()
    for _, seed, unit in replaced:
        assert hidden[seed, :, unit].abs().max() > 0
        without[seed, :, unit] = 0
    torch.testing.assert_close(forward(network, x)[1], without @ w + b)


@pytest.mark.parametrize("utility", ["printed", "adaptable"])
def test_continual_backprop_sees_the_units_before_the_update_and_weights_after(utility):
    intervention = ContinualBackprop(utility_decay=0.75, utility=utility)
    setting = Setting(optimizer=SGD(lr=0.5), intervention=intervention)
    stack = stack_of(setting)
    (x, y), *_ = batches(1)
    hidden = forward(stack.network, x)[0][1:]
    make_update(setting, "torch", stack)(x, y)
    expected = []
    for i, h in enumerate(hidden):
        incoming, outgoing = (w.abs() for w in stack.network.weights[i : i + 2])
        if utility == "printed":
            expected.append(0.25 * h.abs().mean(1) * outgoing.sum(2))
        else:  # the first mean, with its bias corrected, is that of the batch
            spread = (h - h.mean(1, keepdim=True)).abs().mean(1)
            expected.append(0.25 * spread * outgoing.mean(2) / incoming.mean(1))
    torch.testing.assert_close(stack.memory.marks["utility"], torch.cat(expected, 1))
    assert (stack.memory.marks["age"] == 1).all()


def test_a_unit_is_not_judged_by_its_youth():
    """A new unit that is as useful as the others has their utility, but unprinted."""
    for utility, is_young_worse in (("printed", True), ("adaptable", False)):
        intervention = ContinualBackprop(replacement_rate=0, utility=utility)
        stack = stack_of(Setting(intervention=intervention))
        marks, young = stack.memory.marks, slice(0, 4)
        for w in stack.network.weights:
            w.fill_(0.1)
        # two examples on both sides of 1
        hidden = [
            torch.tensor([0.7, 1.3]).double()[:, None].expand(3, 2, width)
            for width in SIZES[1:-1]
        ]
        for step in range(30):
            if step == 20:
                for name in ("utility", "mean_output", "age"):
                    marks[name][:, young] = 0
            intervention.judge(stack, hidden)
        judged_by = marks["utility"].clone()
        if utility == "adaptable":
            judged_by /= 1 - intervention.utility_decay ** marks["age"].double()
        worst_old = judged_by[:, 4:12].min()
        assert (judged_by[0, 0] < 0.9 * worst_old) == is_young_worse
        if not is_young_worse:
            torch.testing.assert_close(judged_by, torch.full_like(judged_by, 0.3))


def test_continual_backprop_replaces_several_units_at_once():
    """12 and 10 mature units at rate 0.3: accounts of 3.6 and 3, then 4.2 and 3."""
    intervention = ContinualBackprop(replacement_rate=0.3, maturity=0)
    stack = stack_of(Setting(intervention=intervention))
    random = torch.Generator().manual_seed(1)
    for expected in ([3, 3], [4, 3], [3, 3]):
        outputs = [
            torch.rand(3, width, generator=random, dtype=torch.float64)
            for width in SIZES[1:-1]
        ]
        replaced = judged(stack, intervention, outputs)
        counts = [
            [sum(r[:2] == (layer, seed) for r in replaced) for layer in (0, 1)]
            for seed in range(3)
        ]
        assert counts == [expected] * 3
        assert (stack.memory.marks["account"] < 1).all()


def test_a_new_unit_of_the_next_layer_gets_weights_from_new_units():
    """As in the authors' code, which finishes a layer before it begins the next."""
    intervention = ContinualBackprop(replacement_rate=1, maturity=0)
    stack = stack_of(Setting(intervention=intervention))
    outputs = [torch.ones(3, width, dtype=torch.float64) for width in SIZES[1:-1]]
    assert len(judged(stack, intervention, outputs)) == 3 * 22
    assert (stack.network.weights[1] != 0).all()
    assert (stack.network.weights[2] == 0).all()


# ---- ReDo


def silence(network: Network, layer: int, units: list[int], size: float = 0) -> None:
    """Let units put out a constant, 0 or little."""
    network.weights[layer][:, :, units] = 0
    network.biases[layer][:, :, units] = size


@closed_form("redo")
@pytest.mark.parametrize("base", [None, Adam()])
def test_redo_resets_only_the_dormant(base):
    intervention = ReDo(redo_tau=0.02, redo_every=5)
    momentum = 0.9 if base is None else 0
    optimizer = SGD(lr=1e-9, momentum=momentum)  # so that the update changes nothing
    setting = Setting(optimizer=optimizer, base=base, intervention=intervention)
    stack = stack_of(setting)
    network = stack.network
    silence(network, 0, [3, 7])
    silence(network, 1, [0])
    silence(network, 1, [1], 0.1)  # little, but more than tau of the mean
    update, before = make_update(setting, "torch", stack), copies(stack)
    total = [torch.zeros(3, width).double() for width in SIZES[1:-1]]
    for step, (x, y) in enumerate(batches(5)):
        for so_far, h in zip(total, forward(network, x)[0][1:], strict=True):
            so_far += h.mean(1)
        if step == 4:
            fill(stack.memory, 7)
        update(x, y)
        moved = [distance(a, b) for a, b in zip(copies(stack), before, strict=True)]
        assert (max(moved) > 1e-3) == (step == 4)
    dormant = [h <= 0.02 * h.mean(1, keepdim=True) for h in total]
    assert dormant[0][:, [3, 7]].all()
    assert dormant[1][:, 0].all()
    assert not dormant[1][:, 1].any()
    for seed in range(3):
        silent = [layer[seed] for layer in dormant]
        into = [torch.zeros(784, dtype=torch.bool), silent[0]]  # made 0 as outgoing
        for layer, (new, zero) in enumerate(zip(silent, into, strict=True)):
            w = network.weights[layer][seed]
            then = before[layer][seed]
            assert (network.weights[layer + 1][seed][new] == 0).all()
            assert (network.biases[layer][seed][:, new] == 0).all()
            assert (w[~zero][:, new] != then[~zero][:, new]).all()
            kept = w[~zero][:, ~new]
            assert distance(kept, then[~zero][:, ~new]) < 1e-6
            bias = network.biases[layer][seed][:, ~new]
            assert distance(bias, before[3 + layer][seed][:, ~new]) < 1e-6
            for moment in stack.memory.moments.values():
                assert (moment.weights[layer][seed][:, new] == 0).all()
                assert (moment.weights[layer + 1][seed][new] == 0).all()
                assert (moment.weights[layer][seed][~zero][:, ~new] != 0).all()
    assert (stack.memory.marks["outputs"] == 0).all()
    assert (stack.memory.marks["steps"] == 5).all()


def test_resetting_the_silent_leaves_the_function():
    """What put out nothing is replaced by what has no outgoing weights."""
    stack = stack_of(Setting(intervention=ReDo(redo_tau=0, redo_every=1)))
    silence(stack.network, 0, [1, 2])
    (x, _), *_ = batches(1)
    hidden, before = forward(stack.network, x)
    stack.memory.marks["outputs"] += torch.cat([h.sum(1) for h in hidden[1:]], 1)
    due = torch.ones(3, 1, dtype=torch.bool)
    Setting(intervention=ReDo(redo_tau=0)).intervention.recycle(stack, due)
    assert (stack.network.weights[0][:, :, [1, 2]] != 0).all()
    torch.testing.assert_close(forward(stack.network, x)[1], before)


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_redo_scores_the_last_batches_and_each_seed_when_it_is_due(activation):
    """By absolute outputs: those of a tanh unit may cancel, and yet it is active."""
    setting = Setting(
        optimizer=SGD(lr=0.01),
        intervention=ReDo(redo_tau=0, redo_every=SCORED + 2),
        activation=activation,
    )
    stack = stack_of(setting)
    marks = stack.memory.marks
    marks["steps"][1] = 1  # one step ahead of the others
    update, sums, last = make_update(setting, "torch", stack), [], None
    for x, y in batches(SCORED + 1):
        sums.append(
            torch.cat([h.abs().sum(1) for h in forward(stack.network, x)[0][1:]], dim=1)
        )
        last = marks["outputs"].clone()
        update(x, y)
    seen = torch.stack(sums)
    torch.testing.assert_close(marks["outputs"][[0, 2]], seen[2:].sum(0)[[0, 2]])
    torch.testing.assert_close(last[1], seen[1:-1, 1].sum(0))
    assert (marks["outputs"][1] == 0).all()


def test_a_layer_that_is_silent_is_all_reset():
    intervention = ReDo(redo_tau=0.1, redo_every=1)
    setting = Setting(intervention=intervention)
    stack = stack_of(setting)
    stack.network.biases[0].fill_(-1e6)
    before = stack.network.weights[0].clone()
    (x, y), *_ = batches(1)
    make_update(setting, "torch", stack)(x, y)
    assert (stack.network.weights[0] != before).all()
    assert (stack.network.biases[0] == 0).all()
    assert (stack.network.weights[1] == 0).all()


# ---- self-normalized resets


@closed_form("snr")
def test_a_unit_is_reset_when_its_silence_reaches_its_threshold():
    """A silent unit has no part in the function, so its reset changes nothing."""
    setting = Setting(
        optimizer=SGD(lr=1e-9, momentum=0.9),
        intervention=SNR(snr_threshold=4, snr_limit=6),
    )
    stack = stack_of(setting)
    silence(stack.network, 0, [3, 7])
    stack.network.biases[0][1, 0, 7] = 1.0  # but not of the second seed
    update, before = make_update(setting, "torch", stack), copies(stack)
    fill(stack.memory, 7)
    (x, y), *_ = batches(1)
    logits = [update(x, y) for _ in range(5)]
    new = torch.zeros(3, 12, dtype=torch.bool)
    new[:, [3, 7]] = True
    new[1, 7] = False
    assert torch.equal((stack.network.weights[0] != before[0]).any(1)[new], new[new])
    torch.testing.assert_close(logits[4], logits[3], rtol=1e-4, atol=1e-4)
    for seed in range(3):
        own, resets = new[seed], stack.memory.marks["silences"][seed, :, 4]
        assert (resets[:12][own] == 1).all()
        outgoing = stack.network.weights[1][seed][own][:, resets[12:] == 0]
        assert outgoing.abs().max() < 1e-6  # one update old
    assert (stack.memory.marks["silence"] < 4).all()


def test_thresholds_come_from_the_silences_of_each_unit():
    """Nine of ten silences are at most 2 long, or 5, or there is none."""
    intervention = SNR(
        snr_percentile=0.9, snr_every=3, snr_threshold=4, snr_least=2, snr_limit=7
    )
    stack = stack_of(Setting(intervention=intervention))
    marks = stack.memory.marks
    counts = marks["silences"]
    counts[:, :, 0] = 50  # updates without silence do not matter
    counts[:, 0, 2], counts[:, 0, 6] = 9, 1
    counts[:, 1, 1], counts[:, 1, 5] = 8, 2
    counts[0, 2, 3] = 1
    stack.task = 2
    intervention.begin_task(stack)
    assert (marks["threshold"] == 4).all()
    stack.task = 3
    intervention.begin_task(stack)
    assert marks["threshold"][:, 0].tolist() == [2, 2, 2]
    assert marks["threshold"][:, 1].tolist() == [7, 7, 7]  # twice 4 is too large
    assert marks["threshold"][:, 2].tolist() == [3, 2, 2]
    assert (counts == 0).all()


def test_a_threshold_is_never_above_the_limit():
    """The histogram has no place for a longer silence."""
    intervention = SNR(snr_every=1, snr_least=7, snr_limit=2)
    stack = stack_of(Setting(intervention=intervention))
    stack.task = 1
    intervention.begin_task(stack)
    assert (stack.memory.marks["threshold"] == 2).all()


# ---- the cost of none


@pytest.mark.parametrize(
    "intervention", [None, WarmStart(), HeadReset(), HeadZero(), Fresh(), LayerNorm()]
)
def test_what_acts_between_tasks_costs_nothing_in_a_step(intervention):
    """The update is the optimizer's step itself, called with the networks."""
    setting = Setting(intervention=intervention)
    update = make_update(setting, "torch", stack_of(setting))
    assert isinstance(update, functools.partial)
    assert update.func is fast.step
