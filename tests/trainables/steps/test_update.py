"""Updates: Adam against torch's, ASAM's closed engine, and all of it in whole runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.updates import distance
from trainables.bases import Adam
from trainables.data import Dataset
from trainables.interventions import L2Init
from trainables.networks.network import Network, forward, initial_network
from trainables.networks.stack import Memory, Stack
from trainables.optimizers import ASAM, GNP, MSAM, OPTIMIZERS, SAM, SGD, Surface
from trainables.problems import Permuted
from trainables.randomness import generator
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.steps import fast, reference
from trainables.steps.update import STEPS, initial_memory, make_update
from trainables.usage import UsageError

SIZES = [784, 12, 10, 10]


def batches(steps: int, seeds: int = 1) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(seeds, 8, 784, generator=random, dtype=torch.float64),
            torch.randint(0, 10, (seeds, 8), generator=random),
        )
        for _ in range(steps)
    ]


def trained(
    setting: Setting, engine: str, stream: list[tuple[Tensor, Tensor]]
) -> Network:
    seeds = list(range(len(stream[0][0])))
    network = initial_network(SIZES, seeds, dtype=torch.float64)
    stack = Stack(seeds, 0, network, initial_memory(setting, network))
    update = make_update(setting, engine, stack)
    for x, y in stream:
        update(x, y)
    return network


@pytest.mark.parametrize("engine", STEPS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("base", [Adam(), Adam(beta1=0.5, beta2=0.8, adam_eps=1e-3)])
def test_adam_is_torchs(base, decay, engine):
    stream = batches(20)
    setting = Setting(optimizer=SGD(lr=0.01, weight_decay=decay), base=base)
    mine = trained(setting, engine, stream)
    ours = initial_network(SIZES, [0], dtype=torch.float64).map(
        lambda t: t.requires_grad_()
    )
    adam = torch.optim.Adam(
        ours.tensors(),
        lr=0.01,
        betas=(base.beta1, base.beta2),
        eps=base.adam_eps,
        weight_decay=decay,
    )
    for x, y in stream:
        adam.zero_grad()
        F.cross_entropy(forward(ours, x)[1][0], y[0]).backward()
        adam.step()
    assert distance(mine, ours.map(Tensor.detach)) < 1e-12
    assert distance(mine, initial_network(SIZES, [0], dtype=torch.float64)) > 0.05


def test_adam_takes_the_gradient_of_its_optimizer():
    """At the first step every weight moves by lr, in its gradient's direction."""
    (x, y), *_ = stream = batches(1)
    optimizer = SAM(lr=0.01, rho=1.0)
    start = initial_network(SIZES, [0], dtype=torch.float64)
    moved = trained(Setting(optimizer=optimizer, base=Adam()), "torch", stream)
    slope, *_ = reference.gradient(start, Memory(), optimizer, x, y)
    for now, then, g in zip(
        moved.tensors(), start.tensors(), slope.tensors(), strict=True
    ):
        torch.testing.assert_close(then - now, 0.01 * g / (g.abs() + 1e-8))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_gradients_are_those_of_the_reference_engine(name, seeds):
    network = initial_network(SIZES, range(seeds), dtype=torch.float64)
    (x, y), *_ = batches(1, seeds)
    optimizer = OPTIMIZERS[name]()
    args = optimizer, x, y
    (mine, logits, _), (theirs, others, _) = (
        gradient(network, initial_memory(Setting(optimizer=optimizer), network), *args)
        for gradient in (reference.gradient, fast.gradient)
    )
    assert distance(mine, theirs) < 1e-14
    torch.testing.assert_close(logits, others)


@pytest.mark.parametrize("optimizer", [SGD(), GNP(momentum=0.9, weight_decay=0.1)])
def test_a_gradient_that_is_written_out_makes_the_same_step(optimizer):
    """A penalty of nothing takes the long way round."""
    settings = [Setting(optimizer=optimizer)]
    settings.append(Setting(optimizer=optimizer, intervention=L2Init(init_decay=0)))
    networks = [trained(setting, "torch", batches(20, 2)) for setting in settings]
    assert distance(*networks) < 1e-12


def test_momentum_sam_needs_a_base_with_a_first_moment():
    """With another base, its ascent step would always be 0."""
    plain = type("Plain", (Adam,), {"name": "plain", "begin": lambda *_: None})
    network = initial_network(SIZES, [0])
    with pytest.raises(UsageError, match="msam steps along the momentum, but base pl"):
        initial_memory(Setting(optimizer=MSAM(momentum=0), base=plain()), network)


# ---- ASAM


@pytest.mark.parametrize("scaled", ["weights", "all"])
def test_asam_on_a_quadratic_is_the_closed_form(scaled):
    """L = x^T A x / 2: g = A (x + rho T^2 A x / ||T A x||), T = |x| + eta.

    For the last number, which is a bias, T is 1 unless all are scaled.
    """
    random = torch.Generator().manual_seed(1)
    a = torch.randn(3, 6, 6, generator=random, dtype=torch.float64)
    matrix = a + a.mT
    x = torch.randn(3, 6, 1, generator=random, dtype=torch.float64)

    def gradient(network: Network) -> tuple[Network, Tensor]:
        slope = matrix @ torch.cat(network.tensors(), dim=1)
        return Network([slope[:, :-1]], [slope[:, -1:]]), slope

    surface = Surface(Network([x[:, :5]], [x[:, 5:]]), gradient)
    optimizer = ASAM(rho=0.3, eta=0.1, ascent_scaled=scaled)
    got = optimizer.gradient(surface, Memory())
    slope, scale = matrix @ x, x.abs() + 0.1
    if scaled == "weights":
        scale[:, -1] = 1
    length = torch.linalg.vector_norm(scale * slope, dim=1, keepdim=True)
    expected = matrix @ (x + 0.3 * scale**2 * slope / length)
    torch.testing.assert_close(
        torch.cat(got.tensors(), dim=1), expected, rtol=1e-10, atol=1e-10
    )


def test_asams_ascent_has_length_rho_in_units_of_the_weights():
    network = initial_network(SIZES, [0, 1], dtype=torch.float64)
    (x, y), *_ = batches(1, 2)
    slope, _ = reference.loss_gradient(network, x, y)
    above = network + ASAM(eta=0.05).ascent(network, slope, 0.4)
    scales = [w.abs() + 0.05 for w in network.weights] + 3 * [torch.ones(())]
    squares = [
        ((b - a) / t).square().sum((1, 2))
        for a, b, t in zip(network.tensors(), above.tensors(), scales, strict=True)
    ]
    torch.testing.assert_close(
        torch.stack(squares).sum(0).sqrt(), torch.full((2,), 0.4).double()
    )


def test_asam_with_a_large_eta_is_sam():
    """T is then eta: rho eta is SAM's radius."""
    stream = batches(20)
    asam = Setting(optimizer=ASAM(rho=0.1 / 1e9, eta=1e9, ascent_scaled="all"))
    sam = Setting(optimizer=SAM(rho=0.1))
    assert (
        distance(trained(asam, "torch", stream), trained(sam, "torch", stream)) < 1e-8
    )


# ---- whole runs


def naive(setting: Setting, seed: int, data: Dataset) -> list[Tensor]:
    """Anyone's loop: permute the images; torch's Adam on the loss with its penalty."""
    start = initial_network([784, *setting.hidden, 10], [seed], dtype=torch.float64)
    network = start.map(lambda t: t.clone().requires_grad_())
    assert setting.base is not None
    decay = setting.intervention.init_decay if setting.intervention else 0
    adam = torch.optim.Adam(network.tensors(), lr=setting.optimizer.lr)
    for index in range(setting.tasks):
        pixels = setting.problem.task(seed, index).pixels
        x = torch.tensor(data.train_images / 255)[:, pixels]
        y = torch.tensor(data.train_labels.astype(int))
        order = generator("order", seed, index, 0).permutation(len(y))
        for batch in torch.tensor(order).split(setting.batch_size):
            loss = F.cross_entropy(forward(network, x[None, batch])[1][0], y[batch])
            for now, then in zip(network.tensors(), start.tensors(), strict=True):
                loss = loss + decay / 2 * (now - then).square().sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return [t.detach() for t in network.tensors()]


@pytest.mark.parametrize("intervention", [None, L2Init(init_decay=0.1)])
def test_what_is_remembered_moves_with_the_pixels(intervention, few):
    setting = Setting(
        problem=Permuted(),
        optimizer=SGD(lr=0.002),
        base=Adam(),
        intervention=intervention,
        dataset="mnist-5k",
        tasks=3,
        batch_size=8,
        hidden=(12, 10),
    )
    options = RunOptions(landscape_every=0)
    run = ContinualRun(setting, [3, 5], few, dtype=torch.float64, options=options)
    while not run.finished:
        run.next_task()
    for place, seed in enumerate(run.alive):
        expected = naive(setting, seed, few)
        for mine, theirs in zip(run.network.tensors(), expected, strict=True):
            torch.testing.assert_close(mine[place], theirs[0], rtol=0, atol=1e-9)
