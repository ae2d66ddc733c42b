"""The engine that makes the steps of a run: reference, torch or native.

    reference   autograd (`reference`): defines what the others compute; any network
    torch       the same equations with fewer operations (`fast`); without layer norm
    native      compiled C (`native`): SGD, SAM and GNP, on a CPU

The environment variable PLASTICITY_ENGINE names the engine to prefer; the default is
native. A run that its engine does not cover takes the one above it in the table.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trainables.steps import extension
from trainables.usage import UsageError, choose

if TYPE_CHECKING:
    from trainables.network import Network
    from trainables.setting import Setting

ENGINES = ("reference", "torch", "native")

VARIABLE = "PLASTICITY_ENGINE"

MAX_NATIVE_WEIGHTS = 4_000_000
"""With more weights per network, memory bandwidth decides, and torch is as fast."""


def choose_engine(
    setting: Setting, network: Network, preferred: str | None = None
) -> str:
    """Return the name of the engine that trains these networks.

    `preferred` is one of `ENGINES`; None: PLASTICITY_ENGINE decides.

    Raises:
        UsageError: There is no such engine, or native is asked for by name and the C
            extension cannot be used here.
    """
    named = preferred or os.environ.get(VARIABLE)
    kind = "engine" if preferred else VARIABLE
    engine = choose(kind, named or "native", ENGINES)
    if network.normalized or engine == "reference":
        return "reference"
    if engine == "native" and is_covered(setting, network):
        try:
            extension.load(network.weights[0].dtype)
            return "native"
        except extension.Unavailable as error:
            if named:
                raise UsageError(f"engine native: {error}") from error
    return "torch"


def is_covered(setting: Setting, network: Network) -> bool:
    """Tell whether the C steps can train and test a setting's networks."""
    intervention = setting.intervention
    return (
        network.weights[0].device.type == "cpu"
        and not (intervention and (intervention.penalizes or intervention.steps))
        and setting.base is None
        and not setting.optimizer.scales_ascent
        and not network.normalized
        and sum(w[0].numel() for w in network.weights) <= MAX_NATIVE_WEIGHTS
    )


def describe_engine() -> str:
    """Return the preferred engine of a CPU, and if it is not native, why.

    For example "native (avx2)" or "torch (PLASTICITY_ENGINE=torch)".

    Raises:
        UsageError: PLASTICITY_ENGINE names no engine.
    """
    engine = choose(VARIABLE, os.environ.get(VARIABLE) or "native", ENGINES)
    if engine != "native":
        return f"{engine} ({VARIABLE}={engine})"
    try:
        return f"native ({extension.load('float32').instruction_set})"
    except extension.Unavailable as error:
        return f"torch ({error})"
