"""The loss of PPO: proximal policy optimization (arXiv 1707.06347).

The loss of a step is

    -min(r A, clip(r, 1 - CLIP, 1 + CLIP) A) - ENTROPY H + VALUE (V - R)^2

r is the probability of the action divided by its probability before the updates, A is
the advantage of the action, H is the entropy of the policy, V is the critic's value,
and R is the target of V. `ppo_error` in `c/kernels.c` has the same loss.

The constants are those of C-CHAIN's continual CartPole
(bluecontra/C-CHAIN@2f8bedf:crl_gym_classic_control, basic_utils.py:29-30 and 61-62).
Its softmax limits a probability to at least 1.2e-7 before the logarithm. Here the
logarithm is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIP, ENTROPY, VALUE = 0.2, 0.01, 0.5


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
