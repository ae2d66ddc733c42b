"""The update of one batch: gradient, penalty of the intervention, and step.

    g  =  the optimizer's gradient, from the engine
    g <-  g + gradient of the intervention's penalty + weight decay
    w <-  w - step of SGD (with momentum), or of the base

A base, such as Adam, replaces the step of SGD. If a setting has neither a base nor a
penalty, the engine in `STEPS` does the whole update, and the gradient is not stored.
"""

from __future__ import annotations

import functools

from torch import Tensor

from trainables.interventions import Update
from trainables.networks.network import Network
from trainables.networks.stack import Memory, Stack
from trainables.setting import Setting
from trainables.steps import convolved, fast, reference
from trainables.steps.reference import GradientOf
from trainables.usage import UsageError

STEPS = {"reference": reference.step, "torch": fast.step}
GRADIENTS = {
    "reference": reference.gradient,
    "torch": fast.gradient,
    "native": convolved.gradient,
}


def initial_memory(setting: Setting, network: Network) -> Memory:
    """Return the memory of `network` at the start of a run.

    It has the numbers of momentum or of the base, and the numbers of the optimizer and
    the intervention.
    """
    memory = Memory()
    if setting.base is not None:
        setting.base.begin(network, memory)
    elif setting.optimizer.momentum:
        memory.moments["velocity"] = network.zeros_like()
    setting.optimizer.begin(network, memory)
    if setting.base is not None and "velocity" in memory.moments:
        raise UsageError(
            f"optimizer {setting.optimizer.name} steps along the momentum, but base "
            f"{setting.base.name} has no first moment: choose another base or optimizer"
        )
    if setting.intervention is not None:
        setting.intervention.begin(network, memory)
    return memory


def begin_task(setting: Setting, stack: Stack) -> None:
    """Prepare the networks and the memory of `stack` for its next task, in place."""
    if setting.intervention is not None and stack.task > 0:
        setting.intervention.begin_task(stack)
    setting.optimizer.begin_task(stack.memory, stack.task / setting.tasks)


def make_update(
    setting: Setting, engine: str, stack: Stack, gradient_of: GradientOf | None = None
) -> Update:
    """Return the function that updates the networks of `stack` in place on a batch.

    `engine` is "reference", "torch" or, for a convolutional network, "native". For
    other networks, `trainables.steps.native` computes the updates of a whole block. If
    `gradient_of` is given, it computes the gradient of another loss, whose targets
    replace the labels. All seeds must then have made equally many updates.
    """
    intervention = setting.intervention
    penalizes = intervention is not None and intervention.penalizes
    is_plain = setting.base is None and not penalizes and gradient_of is None
    if is_plain and engine in STEPS:
        update: Update = functools.partial(
            STEPS[engine], stack.network, stack.memory, setting.optimizer
        )
    else:
        update = functools.partial(
            _explicit_update, setting, engine, stack, gradient_of
        )
    if intervention is None or not intervention.steps:
        return update
    return functools.partial(intervention.step, stack, update)


def _explicit_update(
    setting: Setting,
    engine: str,
    stack: Stack,
    gradient_of: GradientOf | None,
    inputs: Tensor,
    labels: Tensor,
) -> Tensor:
    """Update the networks of `stack` in place; return the logits before the update.

    The gradient is stored in memory, so that the intervention and the base can use it.
    """
    network, memory, optimizer = stack.network, stack.memory, setting.optimizer
    batch = inputs, labels
    if gradient_of is None:
        slope = GRADIENTS[engine](network, memory, optimizer, *batch)
    else:
        slope = reference.gradient(network, memory, optimizer, *batch, gradient_of)
    if setting.intervention is not None:
        setting.intervention.penalize(stack, slope.gradient)
    fused = gradient_of is not None
    reference.move(network, memory, optimizer, slope, setting.base, fused=fused)
    return slope.logits
