"""The torch engine computes what the reference engine does, to rounding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from attrs import evolve
from torch import Tensor

from tests.support.dead import dead_middle, nearly_even
from tests.support.updates import distance
from trainables.hyperparameter import hyperparameters as declared
from trainables.networks.network import Network, initial_network
from trainables.networks.stack import Memory
from trainables.optimizers import GNP, OPTIMIZERS, SAM, SGD, WSAM, Optimizer
from trainables.setting import Setting
from trainables.steps import fast, reference
from trainables.steps.update import STEPS, initial_memory

HYPERPARAMETERS = [
    pytest.param(1, {"lr": 0.05}, id="1"),
    pytest.param(5, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}, id="5-both"),
]


def stream(
    steps: int, seeds: int, batch: int, sizes: list[int], last: int | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Return batches that a network of these sizes can learn, with a short last one."""
    random = torch.Generator().manual_seed(0)
    teacher = torch.randn(sizes[0], sizes[-1], generator=random, dtype=torch.float64)
    made = []
    for i in range(steps):
        n = last if last and i == steps - 1 else batch
        x = torch.rand(seeds, n, sizes[0], generator=random, dtype=torch.float64)
        made.append((x, ((x - 0.5) @ teacher).argmax(-1)))
    return made


def train(
    engine: str,
    optimizer: Optimizer,
    batches: list[tuple[Tensor, Tensor]],
    sizes: list[int],
    prepare=lambda network: None,
) -> tuple[Network, Network | None, list[Tensor]]:
    x = batches[0][0]
    network = initial_network(sizes, range(len(x)), dtype=x.dtype)
    prepare(network)
    memory = initial_memory(Setting(optimizer=optimizer), network)
    logits = [STEPS[engine](network, memory, optimizer, x, y) for x, y in batches]
    return network, memory.moments.get("velocity"), logits


def assert_same(one, other, tolerance: float) -> None:
    assert all(t.isfinite().all() for t in one[0].tensors())
    assert distance(one[0], other[0]) < tolerance
    if one[1] is not None:
        assert distance(one[1], other[1]) < 10 * tolerance
    for mine, theirs in zip(one[2], other[2], strict=True):
        assert (mine - theirs).abs().max() < 100 * tolerance


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_seed_does_not_depend_on_the_others_to_the_last_bit(name):
    kind, sizes = OPTIMIZERS[name], [300, 100, 100, 6]
    long = {"rho": 2.0} if "rho" in declared(kind) else {}
    optimizer = kind(lr=0.3, **long)  # the last bits of a long ascent step matter
    batches = [(x.float(), y) for x, y in stream(10, 5, 16, sizes)]
    stack = train("torch", optimizer, batches, sizes)[0]
    alone = train("torch", optimizer, [(x[:1], y[:1]) for x, y in batches], sizes)[0]
    for one, many in zip(alone.tensors(), stack.tensors(), strict=True):
        assert torch.equal(one[0], many[0])


@pytest.mark.parametrize(("seeds", "hyperparameters"), HYPERPARAMETERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_steps_are_the_same(name, seeds, hyperparameters):
    sizes = [30, 20, 20, 6]
    optimizer = OPTIMIZERS[name](**hyperparameters)
    batches = stream(12, seeds, 16, sizes, last=7)
    torch_, reference_ = (train(engine, optimizer, batches, sizes) for engine in STEPS)
    assert_same(torch_, reference_, 1e-9)
    assert (
        distance(torch_[0], initial_network(sizes, range(seeds), dtype=torch.float64))
        > 0.05
    )


@pytest.mark.parametrize(
    ("batch", "sizes", "written"),
    [
        (8, [784, 100, 100, 10], [False, False, False]),
        (16, [784, 100, 100, 10], [False, False, True]),
        (64, [784, 100, 100, 10], [False, True, True]),
        (48, [784, 20, 100, 10], [False, True, True]),
        (64, [784, 10, 20, 10], [True, True, True]),
        (40, [20, 10, 200, 300], [True, True, False]),
        (32, [6, 300, 10, 10], [True, True, True]),
        (1, [784, 100, 100, 10], [False, False, False]),
    ],
)
def test_whatever_is_written_out(batch, sizes, written):
    """So that both ways of every layer, and their mixtures, are met."""
    optimizer = GNP(rho=0.2, alpha=0.5)
    shapes = enumerate(itertools.pairwise(sizes))
    assert [fast._is_explicit(i, batch, *s) for i, s in shapes] == written
    batches = stream(5, 2, batch, sizes)
    runs = (train(engine, optimizer, batches, sizes) for engine in STEPS)
    assert_same(*runs, 1e-11)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_batch_of_one(name):
    sizes = [30, 20, 20, 6]
    optimizer = OPTIMIZERS[name](lr=0.01, momentum=0.5)
    batches = stream(8, 2, 1, sizes)
    assert_same(*(train(engine, optimizer, batches, sizes) for engine in STEPS), 1e-9)


def dead_and_sure(network: Network) -> None:
    """Kill it, and let the output be so sure of label 0 that the gradient is zero."""
    dead_middle(network)
    network.biases[-1][..., 0] = 1e4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_dead_hidden_layer(name):
    sizes, seeds = [30, 20, 20, 6], 2
    optimizer = OPTIMIZERS[name](lr=0.01, momentum=0.9)
    batches = stream(8, seeds, 16, sizes, last=3)
    runs = [train(engine, optimizer, batches, sizes, dead_middle) for engine in STEPS]
    assert_same(*runs, 1e-9)
    start = initial_network(sizes, range(seeds), dtype=torch.float64)
    for learned, first in zip(runs[0][0].weights, start.weights, strict=True):
        assert torch.equal(learned, first)
    assert runs[0][0].biases[-1].abs().max() > 0.01


@pytest.mark.parametrize(
    ("engine", "dtype", "batch"),
    [
        ("torch", torch.float64, 1),  # small and large batches take different branches
        ("torch", torch.float32, 8),
        ("torch", torch.float32, 64),
        ("reference", torch.float32, 8),
        ("reference", torch.float64, 1),
    ],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_zero_moves_nothing(name, engine, dtype, batch):
    network = initial_network([30, 20, 20, 6], [0, 1], dtype=dtype)
    dead_and_sure(network)
    before = network.map(torch.clone)
    x, y = torch.rand(2, batch, 30, dtype=dtype), torch.zeros(2, batch, dtype=int)
    optimizer = OPTIMIZERS[name](lr=0.1, momentum=0.9)
    memory = initial_memory(Setting(optimizer=optimizer), network)
    for _ in range(3):
        STEPS[engine](network, memory, optimizer, x, y)
    pairs = zip(network.tensors(), before.tensors(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all((m == 0).all() for n in memory.moments.values() for m in n.tensors())
    decaying = evolve(optimizer, weight_decay=0.01)
    STEPS[engine](network, memory, decaying, x, y)
    assert all(t.isfinite().all() for t in network.tensors())


@pytest.mark.parametrize("engine", STEPS)
@pytest.mark.parametrize(("batch", "outputs"), [(10, 10), (2, 2), (16, 2), (4, 2)])
def test_gradients_that_cancel_do_not_lengthen_the_ascent_step(engine, batch, outputs):
    """Every class once in a dead network: in float32 the norm is rounding error."""
    labels = (torch.arange(batch) % outputs)[None]
    for seed in range(40):
        network = nearly_even(outputs, seed)
        bias = network.biases[-1]
        before = bias.clone()
        random = torch.Generator().manual_seed(seed)
        inputs = torch.rand(1, batch, 784, generator=random)
        STEPS[engine](network, Memory(), SAM(rho=0.05, lr=1.0), inputs, labels)
        # the gradient's slope is at most 1/2 anywhere: |g2| <= |g1| + rho / 2
        share = torch.eye(outputs)[labels[0]].mean(0)
        g1 = (before.flatten().softmax(0) - share).norm().item()
        assert (bias - before).norm().item() <= g1 + 0.05 / 2 * 1.5


def test_gnp_is_linear_in_alpha():
    """No shortcut at the ends hides that the middle is a mixture."""
    batches = stream(1, 2, 16, [784, 50, 10])
    start = initial_network([784, 50, 10], range(2), dtype=torch.float64)

    def moved(optimizer: Optimizer) -> list[Tensor]:
        network, _, _ = train("torch", optimizer, batches, [784, 50, 10])
        pairs = zip(network.tensors(), start.tensors(), strict=True)
        return [a - b for a, b in pairs]

    ends = zip(moved(SGD(lr=1)), moved(SAM(lr=1, rho=0.5)), strict=True)
    mixture = moved(GNP(lr=1, rho=0.5, alpha=0.3))
    for (here, above), mixed in zip(ends, mixture, strict=True):
        torch.testing.assert_close(
            mixed, 0.7 * here + 0.3 * above, rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SAM(rho=0, lr=0.05, momentum=0.9), SGD(lr=0.05, momentum=0.9)),
        (GNP(alpha=0, rho=0.1, lr=0.05), SGD(lr=0.05)),
        (GNP(alpha=1, rho=0.1, lr=0.05), SAM(rho=0.1, lr=0.05)),
        (GNP(alpha=1 - 1e-14, rho=0.1, lr=0.05), SAM(rho=0.1, lr=0.05)),
        (GNP(alpha=1e-15, rho=0.1, lr=0.05), SGD(lr=0.05)),
        (SAM(rho=1e-14, lr=0.05), SGD(lr=0.05)),
    ],
)
def test_the_ends_of_gnp_are_sgd_and_sam(one, other):
    sizes = [30, 20, 20, 6]
    batches = stream(20, 2, 16, sizes)
    runs = [train("torch", optimizer, batches, sizes) for optimizer in (one, other)]
    assert distance(runs[0][0], runs[1][0]) < 1e-12


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_pass_is_made_twice(name, monkeypatch):
    """Each forward and backward pass computes the error of the logits once."""
    calls = []

    def count(function):
        def call(*args):
            calls.append(function)
            return function(*args)

        return call

    error, forward = fast.error, fast.forward
    monkeypatch.setattr(fast, "error", count(error))
    monkeypatch.setattr(fast, "forward", count(forward))
    train("torch", OPTIMIZERS[name](), stream(1, 2, 16, [30, 20, 6]), [30, 20, 6])
    assert calls.count(error) == {"sgd": 1, "msam": 1, "gam": 4}.get(name, 2)
    assert calls.count(forward) == (name == "msam")  # whose logits need a pass at w


def test_logits_are_those_before_the_update():
    batches = stream(1, 2, 16, [30, 20, 6])
    network = initial_network([30, 20, 6], range(2), dtype=torch.float64)
    before = network.map(torch.clone)
    x, y = batches[0]
    logits = fast.step(network, Memory(), SAM(lr=1.0), x, y)
    _, expected = reference.loss_gradient(before, x, y)
    torch.testing.assert_close(logits, expected)
    assert not math.isclose(distance(network, before), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"rate": lambda own, memory: own.lr / 10},
        {"rate": lambda own, memory: own.lr / memory.marks["updates"][:, None, None]},
        {"radius": lambda own, memory: 5 * own.rho},
        {"ascent": lambda own, network, gradient, radius: 3 * radius * gradient},
        {"passes": property(lambda own: 3)},
        {"passes": property(lambda own: 1)},
    ],
    ids=["rate", "rate of each seed", "radius", "ascent", "three passes", "one pass"],
)
def test_a_new_optimizer_is_what_it_overrides(change):
    """It counts its updates, and overrides one method more."""

    def begin(own, network: Network, memory: Memory) -> None:
        memory.marks["updates"] = network.weights[0].new_zeros(network.seeds)

    def count(own, memory: Memory) -> None:
        memory.marks["updates"].add_(1)

    new = type("New", (SAM,), {"begin": begin, "count": count, **change})
    optimizer = new(lr=0.05, rho=0.3, momentum=0.5, weight_decay=0.01)
    batches = stream(4, 2, 8, [20, 12, 10])
    one, other = (train(name, optimizer, batches, [20, 12, 10]) for name in STEPS)
    assert_same(one, other, 1e-12)


def test_a_new_optimizer_that_is_a_coupled_wsam_is_no_mixture():
    new = type("New", (WSAM,), {"gradient": lambda own, surface, _: surface.gradient})
    assert WSAM(wsam_form="coupled").is_mixture
    assert not new(wsam_form="coupled").is_mixture
