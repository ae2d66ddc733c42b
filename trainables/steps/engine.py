"""The choice of the engine that trains a run: reference, torch or native.

    reference   autograd (`reference`): defines the results; supports every network
    torch       the same equations with fewer operations (`fast`); no layer norm
    native      compiled C (`native`): SGD, SAM and GNP on a CPU

The environment variable PLASTICITY_ENGINE names the preferred engine; the default is
native. If the preferred engine does not support a run, the engine above it in the
table is used.
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
"""Larger networks are limited by memory bandwidth, so that torch is as fast as C."""


def choose_engine(
    setting: Setting, network: Network, preferred: str | None = None
) -> str:
    """Return the name of the engine that trains these networks.

    `preferred` is one of `ENGINES`, or None to use PLASTICITY_ENGINE.

    Raises:
        UsageError: The engine is unknown, or the user chose native but the C extension
            cannot be used on this machine.
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
                raise UsageError(f"engine native: {error}") from error
    return "torch"


def c_steps_support(setting: Setting, network: Network) -> bool:
    """Return whether the C steps can train and test the networks of a setting."""
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
    """Return the engine that runs on a CPU use, and its instruction set or the reason.

    For example "native (avx2)" or "torch (PLASTICITY_ENGINE=torch)".

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
