"""The reference engine against closed forms, torch.optim and itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.updates import distance
from trainables.networks.network import Network, cross_entropy, forward, initial_network
from trainables.networks.stack import Memory
from trainables.optimizers import GNP, SAM, SGD, Optimizer, Surface
from trainables.setting import Setting
from trainables.steps.reference import loss_gradient, step
from trainables.steps.update import initial_memory

SIZES = [784, 12, 10, 10]
MOVING = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}


def batches(steps: int, seeds: int = 1, batch: int = 8) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(seeds, batch, 784, generator=random, dtype=torch.float64),
            torch.randint(0, 10, (seeds, batch), generator=random),
        )
        for _ in range(steps)
    ]


def trained(optimizer: Optimizer, stream: list[tuple[Tensor, Tensor]]) -> Network:
    network = initial_network(SIZES, range(len(stream[0][0])), dtype=torch.float64)
    memory = initial_memory(Setting(optimizer=optimizer), network)
    for x, y in stream:
        step(network, memory, optimizer, x, y)
    return network


@pytest.mark.parametrize("moving", [{"lr": 0.05}, MOVING])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda m: SAM(rho=0, **m), lambda m: SGD(**m)),
        (lambda m: GNP(alpha=0, rho=0.1, **m), lambda m: SGD(**m)),
        (lambda m: GNP(rho=0, **m), lambda m: SGD(**m)),
        (lambda m: GNP(alpha=1, rho=0.1, **m), lambda m: SAM(rho=0.1, **m)),
    ],
)
def test_the_ends_of_gnp_are_sgd_and_sam(one, other, moving):
    stream = batches(20)
    assert (
        distance(trained(one(moving), stream), trained(other(moving), stream)) < 1e-12
    )


def test_sam_and_gnp_do_something():
    stream = batches(20)
    networks = [trained(o(lr=0.05), stream) for o in (SGD, SAM, GNP)]
    assert distance(networks[0], networks[1]) > 1e-3
    assert distance(networks[1], networks[2]) > 1e-5


class Quadratic:
    """L(x) = x^T A x / 2 in x = (w, b), for S networks of one layer, d to 1."""

    def __init__(self, seeds: int, d: int) -> None:
        random = torch.Generator().manual_seed(1)
        a = torch.randn(seeds, d + 1, d + 1, generator=random, dtype=torch.float64)
        self.A = a + a.mT
        self.x = torch.randn(seeds, d + 1, 1, generator=random, dtype=torch.float64)
        self.network = Network([self.x[:, :d]], [self.x[:, d:]])

    def gradient(self, network: Network) -> tuple[Network, Tensor]:
        slope = self.A @ flat(network)
        return Network([slope[:, :-1]], [slope[:, -1:]]), slope

    def expected(self, rho: float, alpha: float) -> Tensor:
        slope = self.A @ self.x
        length = torch.linalg.vector_norm(slope, dim=1, keepdim=True)
        uphill = self.A @ (self.x + rho * slope / length)
        return (1 - alpha) * slope + alpha * uphill


def flat(network: Network) -> Tensor:
    """Return all numbers of networks of one output a layer, of shape (S, n, 1)."""
    return torch.cat(network.tensors(), dim=1)


@pytest.mark.parametrize(
    ("optimizer", "rho", "alpha"),
    [
        (SGD(), 0, 0),
        (SAM(rho=0.3), 0.3, 1),
        (GNP(rho=0.3, alpha=0.25), 0.3, 0.25),
        (GNP(rho=2.0, alpha=0.8), 2.0, 0.8),
    ],
)
def test_the_gradient_on_a_quadratic_is_the_closed_form(optimizer, rho, alpha):
    problem = Quadratic(seeds=3, d=4)
    surface = Surface(problem.network, problem.gradient)
    gradient = optimizer.gradient(surface, Memory())
    torch.testing.assert_close(
        flat(gradient), problem.expected(rho, alpha), rtol=1e-10, atol=1e-10
    )


def test_the_ascent_step_has_length_rho_and_goes_uphill():
    network = initial_network(SIZES, [0, 1], dtype=torch.float64)
    x, y = batches(1, seeds=2)[0]
    visited = []

    def gradient_of(there: Network) -> tuple[Network, Tensor]:
        visited.append(there)
        return loss_gradient(there, x, y)

    SAM(rho=0.2).gradient(Surface(network, gradient_of), Memory())
    here, there = visited
    away = Network(
        [a - b for a, b in zip(there.weights, here.weights, strict=True)],
        [a - b for a, b in zip(there.biases, here.biases, strict=True)],
    )
    assert away.norm().flatten().tolist() == pytest.approx([0.2, 0.2], rel=1e-9)
    losses = [cross_entropy(forward(n, x)[1], y).mean(1) for n in visited]
    assert (losses[1] > losses[0]).all()


def test_gnp_descends_the_loss_with_the_penalty():
    """To first order, g = grad (L + alpha rho ||grad L||): Zhao et al., eq. 9."""
    alpha, rho = 0.7, 1e-4
    x, y = batches(1)[0]
    network = initial_network(SIZES, [3], dtype=torch.float64)
    leaves = network.map(lambda t: t.clone().requires_grad_())
    loss = cross_entropy(forward(leaves, x)[1], y).mean()
    slope = torch.autograd.grad(loss, leaves.tensors(), create_graph=True)
    length = torch.cat([s.flatten() for s in slope]).norm()
    expected = torch.autograd.grad(loss + alpha * rho * length, leaves.tensors())
    surface = Surface(network, lambda n: loss_gradient(n, x, y))
    got = GNP(rho=rho, alpha=alpha).gradient(surface, Memory())
    for one, other, unpenalized in zip(got.tensors(), expected, slope, strict=True):
        error, penalty = (one - other).norm(), (other - unpenalized).norm()
        assert error < 0.01 * penalty


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_step_is_that_of_torch(momentum, decay):
    stream = batches(20)
    mine = trained(SGD(lr=0.05, momentum=momentum, weight_decay=decay), stream)
    ours = initial_network(SIZES, [0], dtype=torch.float64).map(
        lambda t: t.requires_grad_()
    )
    torchs = torch.optim.SGD(
        ours.tensors(), lr=0.05, momentum=momentum, weight_decay=decay
    )
    for x, y in stream:
        torchs.zero_grad()
        logits = forward(ours, x)[1][0]
        torch.nn.functional.cross_entropy(logits, y[0]).backward()
        torchs.step()
    assert distance(mine, ours.map(Tensor.detach)) < 1e-12


def test_the_norm_is_over_weights_and_biases_of_a_seed():
    network = initial_network([3, 2, 2], [0, 1], dtype=torch.float64)
    for bias in network.biases:
        bias += 2
    for seed in range(2):
        numbers = torch.cat([t[seed].flatten() for t in network.tensors()])
        assert network.norm()[seed].item() == pytest.approx(numbers.norm().item())


def test_a_gradient_is_each_seeds_own():
    network = initial_network(SIZES, [0, 1, 2], dtype=torch.float64)
    x, y = batches(1, seeds=3)[0]
    together, logits = loss_gradient(network, x, y)
    for seed in range(3):
        part = slice(seed, seed + 1)
        alone, mine = loss_gradient(network.part(seed, seed + 1), x[part], y[part])
        assert distance(together.part(seed, seed + 1), alone) < 1e-14
        torch.testing.assert_close(logits[part], mine, rtol=0, atol=1e-14)
