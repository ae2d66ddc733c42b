"""One update of some seeds: the optimizer's gradient, its base, the intervention.

    g    = the optimizer's gradient (`fast`, or `reference`)
    g   <- g + the intervention's penalty + weight decay
    w   <- w - SGD's step, with momentum, or the base's

Without a base and a penalty it is the optimizer's own step, in which gradient and
update are one product, and nothing else.
"""

from __future__ import annotations

import functools
from typing import Protocol, runtime_checkable

from torch import Tensor

from trainables.network import Network
from trainables.optimizers import Optimizer
from trainables.setting import Setting
from trainables.stack import Memory, Stack
from trainables.steps import reference as plain
from trainables.steps.training import Update


@runtime_checkable
class Form(Protocol):
    """A way to compute steps: the modules `fast` and `reference`."""

    def step(
        self,
        network: Network,
        velocity: Network | None,
        optimizer: Optimizer,
        inputs: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """Update the networks in place; return the logits before the update."""
        ...

    def gradient(
        self, network: Network, optimizer: Optimizer, inputs: Tensor, labels: Tensor
    ) -> tuple[Network, Tensor]:
        """Return the optimizer's gradient, and the logits."""
        ...


def remember(setting: Setting, network: Network) -> Memory:
    """Return what initial networks have to remember: nothing yet, in its place."""
    memory = Memory()
    if setting.base is not None:
        setting.base.begin(network, memory)
    elif setting.optimizer.momentum:
        memory.moments["velocity"] = network.zeros_like()
    if setting.intervention is not None:
        setting.intervention.begin(network, memory)
    return memory


def update_of(setting: Setting, form: Form, stack: Stack) -> Update:
    """Return what updates these seeds on a batch."""
    intervention = setting.intervention
    penalizes = intervention is not None and intervention.penalizes
    if setting.base is None and not penalizes:
        velocity = stack.memory.moments.get("velocity")
        told = (stack.network, velocity, setting.optimizer)
        update: Update = functools.partial(form.step, *told)
    else:
        update = functools.partial(_written_out, setting, form, stack)
    if intervention is None or not intervention.steps:
        return update
    return functools.partial(intervention.step, stack, update)


def _written_out(
    setting: Setting, form: Form, stack: Stack, inputs: Tensor, labels: Tensor
) -> Tensor:
    """Update the stack by a gradient that is written out; return the logits."""
    network, memory, optimizer = stack.network, stack.memory, setting.optimizer
    gradient, logits = form.gradient(network, optimizer, inputs, labels)
    if setting.intervention is not None:
        setting.intervention.penalize(stack, gradient)
    if setting.base is None:
        plain.descend(network, memory.moments.get("velocity"), optimizer, gradient)
        return logits
    if optimizer.weight_decay:
        for g, w in zip(gradient.tensors(), network.tensors(), strict=True):
            g.add_(w, alpha=optimizer.weight_decay)
    setting.base.descend(network, memory, gradient, optimizer.lr)
    return logits
