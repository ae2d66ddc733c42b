"""PPO: proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347).

This module has the PPO of C-CHAIN's continual CartPole
(bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control), which follows the notebook of TRAC
(arXiv 2405.16642). An iteration plays some steps, computes the advantages A and the
targets R of the critic, and makes some passes over the steps with the loss in
`trainables.steps.ppo_loss`.

C-CHAIN's code differs from other versions of PPO in three points, which this module
follows:

- The target R is not A + V, but the discounted sum of the rewards that follow. If the
  episode was cut, R includes the discounted value after the last step
  (basic_utils.py:259-264).
- A is normalized over the iteration, not over the batch (basic_utils.py:267-270).
- One Adam updates both actor and critic, and the gradient is not clipped.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.control.gradients import SLOPES, backward
from trainables.networks.actor_critic import actor, critic
from trainables.networks.network import Network, dense_forward
from trainables.steps.ppo_loss import CLIP, ENTROPY, VALUE, ppo_loss
from trainables.steps.reference import loss_gradient

DISCOUNT, TRACE = 0.99, 0.95  # gamma and lambda, basic_utils.py:238
SMALL = 1e-5  # added to the standard deviation of the advantages, basic_utils.py:269


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
