"""Choose the engine that trains a run: reference, torch or native.

    reference   autograd (`reference`): defines the results; supports every network
    torch       the same equations with fewer operations (`fast`); no layer norm
    native      compiled C (`native`): SGD, SAM, GNP and ASAM on a CPU

The environment variable PLASTICITY_ENGINE names the preferred engine. The default is
native. If an engine does not support a run, the run uses the engine above it in this
table.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trainables.optimizers import ASAM
from trainables.steps import extension
from trainables.usage import UsageError, choose

if TYPE_CHECKING:
    from trainables.network import Network
    from trainables.setting import Setting

ENGINES = ("reference", "torch", "native")

VARIABLE = "PLASTICITY_ENGINE"

MAX_NATIVE_WEIGHTS = 4_000_000
"""The largest number of weights of a network that the native engine trains.

Memory bandwidth limits the speed of larger networks, so that torch is as fast as C.
"""


def choose_engine(
    setting: Setting, network: Network, preferred: str | None = None
) -> str:
    """Return the name of the engine that trains these networks, one of `ENGINES`.

    `preferred` is the name of the preferred engine. If it is None, PLASTICITY_ENGINE
    names the preferred engine.

    Raises:
        UsageError: The name of the preferred engine is unknown. Or the preferred engine
            is native, but the C extension cannot be used on this machine.
    """
    named = preferred or os.environ.get(VARIABLE)
    kind = "engine" if preferred else VARIABLE
    engine = choose(kind, named or "native", ENGINES)
    if network.normalized or engine == "reference":
        return "reference"
    if engine == "native" and c_steps_support(setting, network):
        try:
            extension.load(network.weights[0].dtype)
            return "native"
        except extension.Unavailable as error:
            if named:
                raise UsageError(
                    f"the native engine cannot run, because {error}"
                ) from error
    return "torch"


def c_steps_support(setting: Setting, network: Network) -> bool:
    """Return whether the C steps can train and test the networks of a setting."""
    intervention = setting.intervention
    return (
        network.weights[0].device.type == "cpu"
        and not (intervention and (intervention.penalizes or intervention.steps))
        and setting.base is None
        and (not setting.optimizer.scales_ascent or type(setting.optimizer) is ASAM)
        and not network.normalized
        and sum(w[0].numel() for w in network.weights) <= MAX_NATIVE_WEIGHTS
    )


def describe_engine() -> str:
    """Return a text with the engine that runs on a CPU use, such as "native (avx2)".

    The text in brackets is the instruction set of the native engine, or the reason for
    another engine, as in "torch (PLASTICITY_ENGINE=torch)".

    Raises:
        UsageError: PLASTICITY_ENGINE names an unknown engine.
    """
    engine = choose(VARIABLE, os.environ.get(VARIABLE) or "native", ENGINES)
    if engine != "native":
        return f"{engine} ({VARIABLE}={engine})"
    try:
        return f"native ({extension.load('float32').instruction_set})"
    except extension.Unavailable as error:
        return f"torch ({error})"
