"""The update of one batch: gradient, penalty of the intervention, and step.

    g  =  the optimizer's gradient, from the engine
    g <-  g + gradient of the intervention's penalty + weight decay
    w <-  w - step of SGD (with momentum), or of the base optimizer

A base optimizer, such as Adam, replaces the step of SGD. If a setting has neither a
base optimizer nor a penalty, the engine does the whole update. The gradient is then not
stored.
"""

from __future__ import annotations

import functools

from torch import Tensor

from trainables.network import Network
from trainables.setting import Setting
from trainables.stack import Memory, Stack
from trainables.steps import fast, reference
from trainables.steps.training import Update

STEPS = {"reference": reference.step, "torch": fast.step}
GRADIENTS = {"reference": reference.gradient, "torch": fast.gradient}


def initial_memory(setting: Setting, network: Network) -> Memory:
    """Return the memory of `network` at the start of a run.

    It has the buffers of momentum or of the base optimizer, and those of the
    intervention.
    """
    memory = Memory()
    if setting.base is not None:
        setting.base.begin(network, memory)
    elif setting.optimizer.momentum:
        memory.moments["velocity"] = network.zeros_like()
    if setting.intervention is not None:
        setting.intervention.begin(network, memory)
    return memory


def make_update(setting: Setting, engine: str, stack: Stack) -> Update:
    """Return the function that updates the networks of `stack` in place on a batch.

    `engine` is "reference" or "torch".
    """
    intervention = setting.intervention
    if setting.base is None and not (intervention and intervention.penalizes):
        velocity = stack.memory.moments.get("velocity")
        step = functools.partial(STEPS[engine], stack.network, velocity)
        update: Update = functools.partial(step, setting.optimizer)
    else:
        update = functools.partial(_explicit_update, setting, engine, stack)
    if intervention is None or not intervention.steps:
        return update
    return functools.partial(intervention.step, stack, update)


def _explicit_update(
    setting: Setting, engine: str, stack: Stack, inputs: Tensor, labels: Tensor
) -> Tensor:
    """Update the networks of `stack` in place; return the logits before the update.

    The gradient is stored in memory, so that the intervention and the base optimizer
    can use it.
    """
    network, memory, optimizer = stack.network, stack.memory, setting.optimizer
    gradient, logits = GRADIENTS[engine](network, optimizer, inputs, labels)
    if setting.intervention is not None:
        setting.intervention.penalize(stack, gradient)
    if setting.base is None:
        reference.descend(network, memory.moments.get("velocity"), optimizer, gradient)
        return logits
    if optimizer.weight_decay:
        for g, w in zip(gradient.tensors(), network.tensors(), strict=True):
            g.add_(w, alpha=optimizer.weight_decay)
    setting.base.descend(network, memory, gradient, optimizer.lr)
    return logits
