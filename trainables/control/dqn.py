"""The loss of DQN and its gradient: see `trainables.learners.dqn`.

The loss of a step is (Q(s, a) - y)^2 with the target

    y = r + DISCOUNT max_b Q'(s', b), or y = r if the step ended the episode

Q' is the target network: Q as it was some steps ago. The loss treats the target y as a
constant, and SAM does so too. CleanRL has the same loss (vwxyzjn/cleanrl@fe8d8a0,
cleanrl/dqn.py:197-201). The paper limits the derivative of (Q - y)^2 to [-1, 1], but
CleanRL and this module do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.control.gradients import SLOPES, backward
from trainables.networks.network import Network, dense_forward, forward
from trainables.steps.reference import loss_gradient

DISCOUNT = 0.99  # gamma, cleanrl/dqn.py:55


def dqn_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each step, of shape (S, n).

    Args:
        outputs: The values of the actions, of shape (S, n, actions).
        targets: The action and the target y, of shape (S, n, 2).
    """
    actions, aims = targets.unbind(-1)
    chosen = outputs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)
    return (chosen - aims).square()


def dqn_gradient(
    network: Network, inputs: Tensor, targets: Tensor
) -> tuple[Network, Tensor]:
    """Return the gradient of each seed's mean `dqn_loss`, and the values.

    Like `trainables.control.ppo.ppo_gradient`, this function uses autograd only for
    activations that are not in `SLOPES`, and for normalized networks.
    """
    if network.normalized or network.activation not in SLOPES:
        return loss_gradient(network, inputs, targets, dqn_loss)
    hidden, values = dense_forward(network, inputs)
    actions, aims = targets.unbind(-1)
    index = actions.long().unsqueeze(-1)
    pull = (values.gather(-1, index) - aims.unsqueeze(-1)) * (2 / inputs.shape[1])
    error = torch.zeros_like(values).scatter_(-1, index, pull)
    slope = SLOPES[network.activation]
    weights, biases = backward(network, [inputs, *hidden], error, slope)
    return network.like([*weights, *biases]), values


def aims(target: Network, rewards: Tensor, following: Tensor, ended: Tensor) -> Tensor:
    """Return the target y of each step, of shape (S, n).

    Args:
        target: The target network.
        rewards: The rewards, of shape (S, n).
        following: The observations after the steps, of shape (S, n, pixels).
        ended: 1 where the step ended its episode, else 0; of shape (S, n).
    """
    _, values = forward(target, following)
    return rewards + DISCOUNT * values.amax(-1) * (1 - ended)
