"""The loss and the gradient of PPO against torch.distributions and autograd."""

import numpy as np
import pytest
import torch

from trainables.control.gradients import SLOPES
from trainables.control.ppo import (
    DISCOUNT,
    SMALL,
    TRACE,
    advantages_and_targets,
    critic_loss,
    ppo_gradient,
)
from trainables.networks import ActorCritic
from trainables.networks.network import forward, initial_network
from trainables.problems import Form
from trainables.steps.ppo_loss import ppo_loss
from trainables.steps.reference import loss_gradient


def batch(seeds=2, count=40, actions=3):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(seeds, count, 4))
    columns = [
        random.integers(actions, size=(seeds, count)),
        random.normal(size=(seeds, count)),
        random.uniform(-1.6, -0.6, (seeds, count)),  # some ratios are clipped
        random.normal(size=(seeds, count)),
    ]
    return torch.from_numpy(inputs), torch.from_numpy(np.stack(columns, axis=-1))


def networks(activation=None, normalized=False):
    return initial_network(
        [4, 6, 5, 3],
        [0, 1],
        dtype=torch.float64,
        normalized=normalized,
        initialization="pytorch",
        activation=activation,
        kind=ActorCritic(),
        form=Form(1, 4, 1, 3),
    )


def test_the_loss_is_that_of_the_papers():
    inputs, targets = batch()
    _, outputs = forward(networks(), inputs)
    actions, advantages, before, returns = targets.unbind(-1)
    policy = torch.distributions.Categorical(logits=outputs[..., :3])
    ratio = (policy.log_prob(actions) - before).exp()
    assert (ratio < 0.8).any()
    assert (ratio > 1.2).any()
    surrogate = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    value = 0.5 * (outputs[..., 3] - returns) ** 2
    expected = -surrogate - 0.01 * policy.entropy() + value
    torch.testing.assert_close(ppo_loss(outputs, targets), expected)
    torch.testing.assert_close(critic_loss(outputs, targets), value)


@pytest.mark.parametrize("activation", [*SLOPES, "tanh"])
@pytest.mark.parametrize("normalized", [False, True])
def test_the_gradient_is_that_of_autograd(activation, normalized):
    inputs, targets = batch()
    network = networks(activation, normalized)
    got, outputs = ppo_gradient(network, inputs, targets)
    expected, expected_outputs = loss_gradient(network, inputs, targets, ppo_loss)
    torch.testing.assert_close(outputs, expected_outputs)
    for a, b in zip(got.tensors(), expected.tensors(), strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_actor_and_critic_share_no_weights():
    network = networks()
    assert [tuple(w.shape[1:]) for w in network.weights] == [
        *[(4, 6), (6, 5), (5, 3)],
        *[(4, 6), (6, 5), (5, 1)],
    ]
    inputs, targets = batch()
    gradient, _ = loss_gradient(network, inputs, targets, critic_loss)
    zero = [not w.any() for w in gradient.weights]
    assert zero == [True] * 3 + [False] * 3


def test_advantages_are_those_of_their_code():
    """basic_utils.py:226-270: lists of one episode after the other."""
    random = np.random.default_rng(1)
    rewards, values, following = random.normal(size=(3, 1, 9))
    last = np.array([[0, 0, 1, 0, 1, 1, 0, 0, 1]], bool)
    ended = np.array([[0, 0, 1, 0, 0, 1, 0, 0, 0]], bool)

    def discounted(numbers, factor):
        total, sums = 0, []
        for number in reversed(numbers):
            total = number + factor * total
            sums.append(total)
        return sums[::-1]

    advantages, targets, start = [], [], 0
    for stop in np.flatnonzero(last[0]) + 1:
        final = 0 if ended[0, stop - 1] else following[0, stop - 1]
        r = np.append(rewards[0, start:stop], final)
        v = np.append(values[0, start:stop], final)
        deltas = r[:-1] + DISCOUNT * v[1:] - v[:-1]
        advantages += discounted(deltas.tolist(), DISCOUNT * TRACE)
        targets += discounted(r.tolist(), DISCOUNT)[:-1]
        start = stop
    expected = (advantages - np.mean(advantages)) / (np.std(advantages) + SMALL)
    own = advantages_and_targets(rewards, values, following, ended, last)
    np.testing.assert_allclose(own[0][0], expected, rtol=1e-12)
    np.testing.assert_allclose(own[1][0], targets, rtol=1e-12)
