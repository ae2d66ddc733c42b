"""The random walk against Monte Carlo, and TD against a naive loop with torch.optim."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import control
from tests.support.control import check_resumed_and_alone, finish
from trainables.control.td import TDRun, squared_loss, value_gradient
from trainables.interventions import ReDo
from trainables.networks.network import initial_network
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import TD
from trainables.problems.control.td import SIDE, neighbors, observations
from trainables.randomness import generator
from trainables.steps.reference import loss_gradient

FIELDS = {
    "problem": TD(td_steps=100),
    "tasks": 2,
    "epochs": 2,
    "batch_size": 8,
    "hidden": (12, 8),
    "optimizer": SGD(lr=0.05),
    "initialization": "pytorch",
}


def new_run(seeds=(0,), dtype=torch.float64, every=0, **fields):
    return control.new_run({**FIELDS, **fields}, seeds, dtype, every)


def test_the_values_are_the_mean_discounted_rewards():
    problem, random = TD(discount=0.8), np.random.default_rng(0)
    rewards, values = problem.rewards(0, 1), problem.values(0, 1)
    starts = np.array([0, 37, 99])
    places, sums = np.repeat(starts[:, None], 20_000, axis=1), 0.0
    for time in range(60):
        sums = sums + 0.8**time * rewards[places]
        places = neighbors()[places, random.integers(4, size=places.shape)]
    np.testing.assert_allclose(sums.mean(axis=1), values[starts], atol=0.05)


def test_rewards_change_and_places_do_not():
    assert (TD().rewards(0, 1) != TD().rewards(0, 2)).all()
    assert (TD().rewards(0, 1) != TD().rewards(1, 1)).all()
    sight = observations()
    assert sight.shape == (SIDE**2, 2 * SIDE)
    assert (sight.sum(axis=1) == 2).all()
    assert len(np.unique(sight, axis=0)) == SIDE**2
    assert np.linalg.norm(neighbors()[55] - [45, 65, 54, 56]) == 0


@pytest.mark.parametrize("activation", [None, "leaky_relu", "tanh"])
def test_the_gradient_is_that_of_autograd(activation):
    random = torch.Generator().manual_seed(0)
    network = initial_network([20, 6, 5, 1], [0, 1], dtype=torch.float64)
    network.activation = activation
    x = torch.rand(2, 9, 20, generator=random, dtype=torch.float64)
    y = torch.rand(2, 9, generator=random, dtype=torch.float64)
    got, expected = (
        value_gradient(network, x, y),
        loss_gradient(network, x, y, squared_loss),
    )
    for a, b in zip(got[0].tensors(), expected[0].tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(got[1], expected[1])


def gradient_at(network, inputs, target):
    """Leave the gradient of the mean squared loss in the parameters; return a copy."""
    network.zero_grad()
    ((network(inputs)[:, 0] - target).square().mean() / 2).backward()
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_a_run_is_that_of_a_naive_loop(rho):
    optimizer = SAM(lr=0.05, rho=rho) if rho else SGD(lr=0.05)
    run = new_run(seeds=(3, 8), optimizer=optimizer)
    assert isinstance(run, TDRun)
    records = finish(run)
    for place, seed in enumerate((3, 8)):
        random, layers = generator("weights", seed), []
        for a, b in ((20, 12), (12, 8), (8, 1)):
            layer, bound = nn.Linear(a, b, dtype=torch.float64), 1 / math.sqrt(a)
            draws = (
                random.uniform(-bound, bound, (a, b)),
                random.uniform(-bound, bound, b),
            )
            layer.weight.data, layer.bias.data = map(
                torch.from_numpy, (draws[0].T, draws[1])
            )
            layers += [layer, nn.ReLU()]
        network = nn.Sequential(*layers[:-1])
        sgd = torch.optim.SGD(network.parameters(), lr=0.05)
        sight = torch.from_numpy(observations())
        for task in range(2):
            random = generator("walk", seed, task)
            path = [int(random.integers(100))]
            for move in random.integers(4, size=100):
                path.append(int(neighbors()[path[-1], move]))
            rewards = torch.from_numpy(run.problem.rewards(seed, task))
            true = torch.from_numpy(run.problem.values(seed, task))
            errors = []
            for epoch in range(2):
                order = generator("order", seed, task, epoch).permutation(100)
                for part in np.split(order, 10):
                    for batch in (part[:8], part[8:]):
                        s = torch.tensor(path)[batch]
                        s2 = torch.tensor(path)[batch + 1]
                        with torch.no_grad():
                            target = rewards[s] + 0.9 * network(sight[s2])[:, 0]

                        g = gradient_at(network, sight[s], target)
                        if rho:
                            norm = torch.cat([x.flatten() for x in g]).norm()
                            start = [p.data.clone() for p in network.parameters()]
                            for p, x in zip(network.parameters(), g, strict=True):
                                p.data += rho * x / (norm + 1e-12)
                            gradient_at(network, sight[s], target)
                            for p, x in zip(network.parameters(), start, strict=True):
                                p.data = x
                        sgd.step()
                    error = (network(sight)[:, 0] - true).square().mean().sqrt()
                    errors.append((error / true.square().mean().sqrt()).item())
            record = records[2 * task + place]
            assert record["seed"] == seed
            assert record["value_error"] == pytest.approx(errors[-1], rel=1e-6)
            assert record["mean_value_error"] == pytest.approx(
                np.mean(errors), rel=1e-6
            )
            assert record["steps"] == 2 * 10 * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"every": 1, "hidden": (4,)},
        {"optimizer": GNP(lr=0.05, rho=0.1, alpha=0.8)},
        {"intervention": ReDo()},
    ],
)
def test_a_stack_resumes_to_the_bit_and_is_the_same_as_single_runs(fields):
    check_resumed_and_alone(functools.partial(new_run, **fields))


def test_td_learns():
    run = new_run(
        problem=TD(td_steps=20_000),
        tasks=1,
        epochs=1,
        batch_size=32,
        hidden=(50, 50),
        optimizer=SGD(lr=0.1),
        dtype=torch.float32,
    )
    assert finish(run)[0]["value_error"] < 0.7
