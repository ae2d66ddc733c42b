"""The loss of DQN and its gradient: see `trainables.learners.dqn`.

The loss of a step is (Q(s, a) - y)^2 with the target

    y = r + DISCOUNT max_b Q'(s', b), or y = r if the step ended the episode

Q' is the target network: Q as it was some steps ago. The loss treats the target y as a
constant, and SAM does so too. CleanRL has the same loss (vwxyzjn/cleanrl@fe8d8a0,
cleanrl/dqn.py:197-201). The paper limits the derivative of (Q - y)^2 to [-1, 1], but
CleanRL and this module do not.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from trainables.control.gradients import chain_gradient
from trainables.networks.network import Network, forward

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


def dqn_derivative(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the derivative of `dqn_loss` with respect to the outputs.

    It has the shape (S, n, actions), and is 0 for actions that were not chosen.
    """
    actions, aims = targets.unbind(-1)
    index = actions.long().unsqueeze(-1)
    pull = 2 * (outputs.gather(-1, index) - aims.unsqueeze(-1))
    return torch.zeros_like(outputs).scatter_(-1, index, pull)


dqn_gradient = functools.partial(
    chain_gradient, loss=dqn_loss, derivative=dqn_derivative
)
"""Return the gradient of each seed's mean `dqn_loss`, and the values of the actions."""


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
