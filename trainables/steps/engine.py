"""Choose the engine that trains a run: reference, torch or native.

    reference   autograd (`reference`): defines the results; supports every network
    torch       the same equations with fewer operations (`fast`); only the MLP with
                the ReLU and no layer norm
    native      compiled C, for MLPs, for actors and critics (`native.supports`), and
                for convolutional networks (`convolved.supports`)

Only the reference engine supports the problem `growing`. The environment variable
PLASTICITY_ENGINE names the preferred engine. The default is native. If an engine does
not support a run, the run uses the next engine above it in this table.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from trainables.steps import check, convolved, extension, native
from trainables.usage import UsageError, choose

if TYPE_CHECKING:
    from trainables.networks.network import Network
    from trainables.setting import Setting

ENGINES = ("reference", "torch", "native")

VARIABLE = "PLASTICITY_ENGINE"


def choose_engine(
    setting: Setting, network: Network, preferred: str | None = None
) -> str:
    """Return the name of the engine that trains these networks, one of `ENGINES`.

    `preferred` is the preferred engine. If it is None, PLASTICITY_ENGINE names it.

    Raises:
        UsageError: The name of the preferred engine is unknown. Or the preferred engine
            is native, but the C extension cannot be used on this machine.
    """
    named = preferred or os.environ.get(VARIABLE)
    kind = "engine" if preferred else VARIABLE
    engine = choose(kind, named or "native", ENGINES)
    in_c = native.supports(setting, network) or convolved.supports(network)
    in_c = in_c and not setting.problem.grows
    if engine == "native" and in_c:
        try:
            check.load(network.weights[0].dtype)
            return "native"
        except extension.Unavailable as error:
            if named:
                raise UsageError(
                    f"the native engine cannot run, because {error}. To use another "
                    f"engine, set {VARIABLE}=torch"
                ) from error
    is_plain = network.is_relu_mlp and not setting.problem.grows
    return "torch" if is_plain and engine != "reference" else "reference"


def describe_engine() -> str:
    """Return the engine that runs on a CPU use, as text such as "native (avx2)".

    The text in brackets is the instruction set of the native engine, or the reason for
    another engine, as in "torch (PLASTICITY_ENGINE=torch)".

    Raises:
        UsageError: PLASTICITY_ENGINE names an unknown engine.
    """
    engine = choose(VARIABLE, os.environ.get(VARIABLE) or "native", ENGINES)
    if engine != "native":
        return f"{engine} ({VARIABLE}={engine})"
    try:
        return f"native ({check.load(torch.float32).instruction_set})"
    except extension.Unavailable as error:
        return f"torch ({error})"
