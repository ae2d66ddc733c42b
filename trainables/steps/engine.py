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

from trainables.usage import choose

if TYPE_CHECKING:
    from trainables.network import Network
    from trainables.setting import Setting

ENGINES = ("reference", "torch", "native")

VARIABLE = "PLASTICITY_ENGINE"

MAX_NATIVE_WEIGHTS = 4_000_000
"""With more weights per network, memory bandwidth decides, and torch is as fast."""


def preferred_engine() -> str:
    """Return the engine that PLASTICITY_ENGINE names, else native.

    Raises:
        UsageError: It names no engine.
    """
    return choose(VARIABLE, os.environ.get(VARIABLE) or "native", ENGINES)


def choose_engine(
    setting: Setting, network: Network, preferred: str | None = None
) -> str:
    """Return the name of the engine that trains these networks.

    Args:
        setting: What to run.
        network: Its networks, on their device.
        preferred: One of `ENGINES`; None: `preferred_engine()`.

    Raises:
        UsageError: There is no such engine, or native is asked for by name and the C
            extension cannot be used here.
    """
    from trainables.steps import native

    engine = preferred_engine() if preferred is None else preferred
    choose("engine", engine, ENGINES)
    if network.normalized or engine == "reference":
        return "reference"
    if engine == "native" and native.covers(setting, network):
        return "native"
    return "torch"
