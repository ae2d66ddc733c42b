"""PPO: proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347).

This module has the PPO of C-CHAIN's continual CartPole
(bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control), which follows the notebook of TRAC
(arXiv 2405.16642). An iteration plays some steps, computes the advantages A and the
targets of the critic, and makes some passes over the steps. The loss of a step is

    -min(r A, clip(r, 1 - CLIP, 1 + CLIP) A) - ENTROPY H + VALUE (V - R)^2

r is the probability of the action divided by its probability before the updates, H is
the entropy of the policy, V is the critic's value, and R is the target of V.

C-CHAIN's code differs from other versions of PPO in three points, which this module
follows:

- The target R is not A + V, but the discounted sum of the rewards that follow. If the
  episode was cut, R includes the discounted value after the last step
  (basic_utils.py:259-264).
- A is normalized over the iteration, not over the batch (basic_utils.py:267-270).
- One Adam updates both actor and critic, and the gradient is not clipped.

C-CHAIN's softmax limits a probability to at least 1.2e-7 before the logarithm. Here the
logarithm is exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.control.gradients import SLOPES, backward
from trainables.networks.actor_critic import actor, critic
from trainables.networks.network import Network, dense_forward
from trainables.steps.reference import loss_gradient

CLIP, ENTROPY, VALUE = 0.2, 0.01, 0.5  # basic_utils.py:29-30 and 61-62
DISCOUNT, TRACE = 0.99, 0.95  # gamma and lambda, basic_utils.py:238
SMALL = 1e-5  # added to the standard deviation of the advantages, basic_utils.py:269


def ppo_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each step, of shape (S, n).

    Args:
        outputs: The logits of the actions and the value, of shape (S, n, actions + 1).
        targets: The action, the advantage, the log of the action's probability before
            the updates, and the target of the critic: shape (S, n, 4).
    """
    actions, advantages, before, returns = targets.unbind(-1)
    logs = outputs[..., :-1].log_softmax(-1)
    chosen = logs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)
    ratio = (chosen - before).exp()
    clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
    gain = torch.minimum(ratio * advantages, clipped * advantages)
    entropy = -(logs.exp() * logs).sum(-1)
    error = (outputs[..., -1] - returns).square()
    return -gain - ENTROPY * entropy + VALUE * error


def ppo_gradient(
    network: Network, inputs: Tensor, targets: Tensor
) -> tuple[Network, Tensor]:
    """Return the gradient of each seed's mean loss on its batch, and the outputs.

    `inputs` are the observations, and `targets` are as in `ppo_loss`. This function
    uses autograd only for activations that are not in `SLOPES`, and for normalized
    networks. Otherwise it takes a third of autograd's time for small networks.
    """
    if network.normalized or network.activation not in SLOPES:
        return loss_gradient(network, inputs, targets, ppo_loss)
    slope = SLOPES[network.activation]
    chains = actor(network), critic(network)
    (hidden, logits), (values_hidden, values) = (
        dense_forward(chain, inputs) for chain in chains
    )
    count = inputs.shape[1]
    actions, advantages, before, returns = targets.unbind(-1)
    index = actions.long().unsqueeze(-1)
    logs = logits.log_softmax(-1)
    shares = logs.exp()
    ratio = (logs.gather(-1, index).squeeze(-1) - before).exp()
    gain = ratio * advantages
    clipped = ratio.clamp(1 - CLIP, 1 + CLIP) * advantages
    pull = torch.where(gain <= clipped, gain, 0).unsqueeze(-1) / count
    entropy = -(shares * logs).sum(-1, keepdim=True)
    error = pull * shares + (ENTROPY / count) * shares * (logs + entropy)
    error.scatter_add_(-1, index, -pull)
    value_error = (values - returns.unsqueeze(-1)) * (2 * VALUE / count)
    weights, biases = [], []
    for chain, layers, e in (
        (chains[0], [inputs, *hidden], error),
        (chains[1], [inputs, *values_hidden], value_error),
    ):
        w, b = backward(chain, layers, e, slope)
        weights += w
        biases += b
    outputs = torch.cat([logits, values], dim=-1)
    return network.like([*weights, *biases]), outputs


def critic_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the critic's part of the loss, for the arguments of `ppo_loss`."""
    return VALUE * (outputs[..., -1] - targets[..., -1]).square()


def advantages_and_targets(
    rewards: np.ndarray,
    values: np.ndarray,
    following: np.ndarray,
    ended: np.ndarray,
    last: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normalized advantage A and the critic's target R of each step.

    Args:
        rewards: The rewards. Like all arguments, they have the shape (S, n).
        values: The critic's values of the observations before the actions.
        following: The critic's values of the observations after the actions.
        ended: Whether the step ended its episode. The value after it is then 0.
        last: Whether the step is the last of its episode, which ended or was cut.
    """
    after_last = np.where(ended, 0.0, following)
    shifted = np.concatenate([values[:, 1:], following[:, -1:]], axis=1)
    deltas = rewards + DISCOUNT * np.where(last, after_last, shifted) - values
    advantages, targets = np.empty_like(deltas), np.empty_like(deltas)
    advantage = target = np.zeros(len(deltas))
    for t in reversed(range(deltas.shape[1])):
        going = ~last[:, t]
        advantage = deltas[:, t] + DISCOUNT * TRACE * advantage * going
        ahead = np.where(going, target, after_last[:, t])
        target = rewards[:, t] + DISCOUNT * ahead
        advantages[:, t], targets[:, t] = advantage, target
    mean = advantages.mean(axis=1, keepdims=True)
    return (advantages - mean) / (
        advantages.std(axis=1, keepdims=True) + SMALL
    ), targets
