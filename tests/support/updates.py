"""Small stacks of networks in float64, and batches to train them on."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor

from trainables.networks.network import Network, initial_network
from trainables.networks.stack import Stack
from trainables.setting import Setting
from trainables.steps.update import initial_memory

SIZES = [7, 6, 5, 4]


def stack_of(setting: Setting, seeds: list[int]) -> Stack:
    network = initial_network(SIZES, seeds, dtype=torch.float64)
    return Stack(seeds, 0, network, initial_memory(setting, network))


def batches(steps: int, seeds: int) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(1)
    x = torch.rand(steps, seeds, 8, SIZES[0], generator=random, dtype=torch.float64)
    y = torch.randint(0, SIZES[-1], (steps, seeds, 8), generator=random)
    return list(zip(x, y, strict=True))


def distance(one: Network, other: Network) -> float:
    """Return the largest absolute difference between the numbers of two networks."""
    return max(float(tensor.abs().max()) for tensor in (one - other).tensors())


def only(names: Collection[str], every: Collection[str]) -> list[ParameterSet]:
    """Return all names for `parametrize`, and leave all but `names` to `-m chaos`."""
    assert set(names) <= set(every)
    return [
        pytest.param(name, marks=() if name in names else pytest.mark.chaos)
        for name in every
    ]
