"""Training and testing on a CPU in C (`native.c`), compiled by the first run there.

What torch's batched products leave unused: each goes over the weights of the whole
stack, which do not fit a core's cache; a step is some twenty calls; and a product of
16 examples runs at two thirds of a core's speed. In C a network makes all the steps of
a block in one call, from the cache, and no other network of its stack has a part in
its numbers.

It covers SGD, SAM and GNP with momentum and weight decay. All else, and a machine that
has no C compiler, or a processor without AVX2 (or ARM's 64 bits), takes torch:
`fast`, the same equations, with the same results to rounding. Which compiler
there was stands in each file of records (`c_compiler`). Where PLASTICITY_ENGINE=torch
stands in the environment (of each node), all runs take torch.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from trainables.examples import Block, Examples, Reader
from trainables.network import Network, initial
from trainables.optimizers import EPSILON, GNP, Optimizer
from trainables.setting import Setting
from trainables.steps import compiler, fast
from trainables.steps.training import StepSums
from trainables.steps.training import train as train_by_torch

SOURCE = Path(__file__).with_suffix(".c")

TYPES = {torch.float32: (), torch.float64: ("-DDOUBLE",)}

LARGEST = 4_000_000
"""Weights of a network beyond which memory is the limit, and torch does as well."""

_WHOLE, _WHERE = ctypes.c_int64, ctypes.c_void_p


def covers(setting: Setting, network: Network) -> bool:
    """Tell whether a setting's networks can be trained and tested here."""
    first, intervention = network.weights[0], setting.intervention
    around = intervention and (intervention.penalizes or intervention.steps)
    return (
        first.device.type == "cpu"
        and not around
        and setting.base is None
        and setting.optimizer.offset is None
        and not network.normalized
        and sum(w[0].numel() for w in network.weights) <= LARGEST
        and library(first.dtype) is not None
    )


def train(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    images: UInt8[Tensor, "N inputs"],
    block: Block,
) -> StepSums:
    """Train the block's seeds in place; return what the logits before each step say.

    The seeds are spread over torch's threads.

    Args:
        network: Of the block's seeds.
        velocity: The momentum's buffers; None without momentum.
        optimizer: Its hyperparameters; not ASAM's.
        images: All training images.
        block: The batches.

    Raises:
        RuntimeError: There is no C compiler here.
        ValueError: A position or a label is out of range.
    """
    return _train(_needed(network), network, velocity, optimizer, images, block)


def _train(
    library: ctypes.CDLL,
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    images: Tensor,
    block: Block,
) -> StepSums:
    steps, seeds, batch = block.positions.shape
    images, positions, labels = _read(network, images, block.positions, block.labels)
    o = optimizer
    values = (o.lr, o.weight_decay, o.momentum, o.radius, o.mixing, EPSILON)
    told = torch.zeros(seeds, 2, dtype=torch.float64)
    moving = [velocity.weights, velocity.biases] if velocity else [[], []]
    called = library.train
    called.argtypes = [_WHOLE, _WHERE, *(3 * [_WHOLE]), *(9 * [_WHERE])]

    def train_seed(seed: int) -> int:
        failed: int = called(
            *_sizes(network),
            batch,
            steps,
            seeds * batch,
            images.data_ptr(),
            positions[0, seed].data_ptr(),
            labels[0, seed].data_ptr(),
            *(_pointers(t, seed) for t in (network.weights, network.biases, *moving)),
            (ctypes.c_double * len(values))(*values),
            told[seed].data_ptr(),
        )
        return failed

    _spread(train_seed, seeds)
    return StepSums(told[:, 0], told[:, 1])


def test(network: Network, stack: list[Examples], reader: Reader) -> dict[str, Tensor]:
    """Return what `trainables.measuring.test` returns, given the same.

    Raises:
        RuntimeError: There is no C compiler here.
        ValueError: A position or a label is out of range.
    """
    called = _needed(network).test
    called.argtypes = [_WHOLE, _WHERE, _WHOLE, *(6 * [_WHERE])]
    told = torch.zeros(len(stack), 2, dtype=torch.float64)

    def test_seed(seed: int) -> int:
        where, answers = (torch.from_numpy(part) for part in stack[seed])
        images, positions, labels = _read(network, reader.images, where, answers)
        failed: int = called(
            *_sizes(network),
            len(labels),
            images.data_ptr(),
            positions.data_ptr(),
            labels.data_ptr(),
            _pointers(network.weights, seed),
            _pointers(network.biases, seed),
            told[seed].data_ptr(),
        )
        return failed

    _spread(test_seed, len(stack))
    counts = torch.tensor([len(examples.labels) for examples in stack])
    loss, right = (told / counts.unsqueeze(1)).unbind(1)
    return {"test_loss": loss, "test_accuracy": right}


def _spread(work: Callable[[int], int], seeds: int) -> None:
    """Work on each seed, on as many threads as torch has.

    Raises:
        MemoryError: C found none.
    """
    if torch.get_num_threads() == 1:
        failed = [work(seed) for seed in range(seeds)]
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            failed = list(pool.map(work, range(seeds)))
    if any(failed):
        raise MemoryError("there is no memory for the steps in C")


def _sizes(network: Network) -> tuple[int, ctypes.Array[Any]]:
    """Return how many layers there are, and their widths."""
    sizes = [w.shape[1] for w in network.weights] + [network.weights[-1].shape[2]]
    return len(sizes) - 1, (_WHOLE * len(sizes))(*sizes)


def _read(
    network: Network, images: Tensor, positions: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images and examples as C reads them, refusing what it would misread."""
    inputs, outputs = network.weights[0].shape[1], network.weights[-1].shape[2]
    if images.dtype != torch.uint8 or images.shape[1] != inputs:
        raise ValueError(f"images must be {inputs} bytes each")
    return (
        images.contiguous(),
        _checked("positions", positions, len(images)),
        _checked("labels", labels, outputs),
    )


def _checked(name: str, indices: Tensor, end: int) -> Tensor:
    """Return indices as C reads them, refusing what it would read or write wrongly."""
    if indices.min() < 0 or indices.max() >= end:
        raise ValueError(f"{name} must lie from 0 to below {end}")
    return indices.long().contiguous()


def _pointers(tensors: list[Tensor], seed: int) -> ctypes.Array[Any] | None:
    """Return where a seed's tensors lie, or None where there are none."""
    if not tensors:
        return None
    return (_WHERE * len(tensors))(*[t[seed].data_ptr() for t in tensors])


def _needed(network: Network) -> ctypes.CDLL:
    """Return the compiled steps for a network's dtype."""
    found = library(network.weights[0].dtype)
    if found is None:
        raise RuntimeError("no C compiler here: ask covers() first")
    return found


def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled steps; None where there is no compiler that makes them."""
    made = _made(dtype)
    return made and made[0]


def compiled_by() -> str:
    """Return the compiler of the steps on this machine's CPU, or none."""
    made = _made(torch.float32)
    return made[1] if made else "none"


@functools.cache
def _made(dtype: torch.dtype) -> tuple[ctypes.CDLL, str] | None:
    """Return the compiled steps, and what compiled them."""
    flags = TYPES.get(dtype)
    if flags is None:
        return None
    return compiler.compiled(SOURCE, flags, lambda made: _agrees(made, dtype))


def _agrees(library: ctypes.CDLL, dtype: torch.dtype) -> bool:
    """Tell whether what was compiled makes the steps of `trainables.steps.fast`.

    The batches take all ways that there are: few examples, some lanes, several panels
    and a first layer that is written out.
    """
    most = 1000 * torch.finfo(dtype).eps
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 40), generator=random, dtype=torch.uint8)
    for batch, momentum in ((1, 0.0), (9, 0.5), (40, 0.0)):
        positions = torch.randint(50, (4, 2, batch), generator=random)
        block = Block(0, 2, positions, positions % 3)
        optimizer = GNP(lr=0.1, rho=0.1, alpha=0.5, momentum=momentum)
        mine, theirs = (initial([40, 30, 3], [0, 1], dtype=dtype) for _ in range(2))
        moving, same = (n.zeros_like() if momentum else None for n in (mine, theirs))
        _train(library, mine, moving, optimizer, images, block)
        update = functools.partial(fast.step, theirs, same, optimizer)
        train_by_torch(update, Reader(images, dtype), block)
        for a, b in zip(mine.tensors(), theirs.tensors(), strict=True):
            if not torch.allclose(a, b, rtol=most, atol=most):
                return False
    return True
