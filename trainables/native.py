"""Steps on a CPU in C (`native.c`), compiled where they run, by the first run there.

What torch's batched products leave unused: each goes over the weights of the whole
stack, which do not fit a core's cache; a step is some twenty calls; and a product of
16 examples runs at two thirds of a core's speed. In C a network makes all the steps of
a block in one call, from the cache, and no other network of its stack has a part in
its numbers.

It covers SGD, SAM and GNP with momentum and weight decay. All else, and a machine
without a C compiler, takes `trainables.fast`, the same equations in torch's products,
with the same results to rounding; each file of records says which (`engine`). With
PLASTICITY_ENGINE=torch in the environment all runs take that.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from trainables import fast
from trainables.examples import Block, Reader
from trainables.network import Network, initial
from trainables.optimizers import EPSILON, GNP, Optimizer
from trainables.setting import Setting
from trainables.training import Told
from trainables.training import train as train_by_torch

SOURCE = Path(__file__).with_suffix(".c")

FLAGS = ("-O3", "-ffp-contract=fast", "-shared", "-fPIC")

TUNED = ("-march=native", "-mcpu=native")
"""How compilers are asked for all that this machine's processor can; the first that
works is taken."""

TYPES = {torch.float32: (), torch.float64: ("-DDOUBLE",)}

LARGEST = 4_000_000
"""Weights of a network beyond which memory is the limit, and torch does as well."""

PATIENCE = 120
"""Seconds that a compiler may take; it takes about four."""

_WHOLE, _WHERE = ctypes.c_int64, ctypes.c_void_p


def covers(setting: Setting, network: Network) -> bool:
    """Tell whether a setting's networks can be trained here."""
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
) -> Told:
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
    found = library(network.weights[0].dtype)
    if found is None:
        raise RuntimeError("no C compiler here: ask covers() first")
    return _train(found, network, velocity, optimizer, images, block)


def _train(
    library: ctypes.CDLL,
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    images: Tensor,
    block: Block,
) -> Told:
    sizes = [w.shape[1] for w in network.weights] + [network.weights[-1].shape[2]]
    _check("positions", block.positions, len(images))
    _check("labels", block.labels, sizes[-1])
    steps, seeds, batch = block.positions.shape
    o = optimizer
    values = (o.lr, o.weight_decay, o.momentum, o.radius, o.mixing, EPSILON)
    told = torch.zeros(seeds, 2, dtype=torch.float64)

    def train_seed(seed: int) -> None:
        moving = [velocity.weights, velocity.biases] if velocity else [None, None]
        failed = library.train(
            len(network.weights),
            (_WHOLE * len(sizes))(*sizes),
            batch,
            steps,
            seeds * batch,
            images.data_ptr(),
            block.positions[0, seed].data_ptr(),
            block.labels[0, seed].data_ptr(),
            *(
                tensors
                and (_WHERE * len(tensors))(*[t[seed].data_ptr() for t in tensors])
                for tensors in (network.weights, network.biases, *moving)
            ),
            (ctypes.c_double * len(values))(*values),
            told[seed].data_ptr(),
        )
        if failed:
            raise MemoryError("there is no memory to train with")

    threads = min(torch.get_num_threads(), seeds)
    if threads == 1:
        for seed in range(seeds):
            train_seed(seed)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(train_seed, range(seeds)))
    return told[:, 0], told[:, 1]


def _check(name: str, indices: Tensor, end: int) -> None:
    """Refuse what C would read or write wrongly."""
    if indices.min() < 0 or indices.max() >= end or not indices.is_contiguous():
        raise ValueError(f"{name} of a block must lie from 0 to below {end}, in order")


def engine() -> str:
    """Return what makes the steps on this machine's CPU, with the compiler."""
    if library(torch.float32) is None:
        return "torch"
    return f"native.c, {_version(_compiler())}"


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled steps; None where there is no compiler that makes them."""
    if os.environ.get("PLASTICITY_ENGINE") == "torch" or not _compiler():
        return None
    for folder in _folders():
        for tuned in TUNED:
            flags = (*FLAGS, tuned, *TYPES[dtype])
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                return _kept(folder, flags, dtype)
    return None


def _folders() -> Iterator[Path]:
    """Yield where compiled code may be kept: between commands, else for this one."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    yield cache / "plasticity-study"
    with tempfile.TemporaryDirectory() as folder:  # what is loaded outlives its file
        yield Path(folder)


def _kept(folder: Path, flags: tuple[str, ...], dtype: torch.dtype) -> ctypes.CDLL:
    """Load what was compiled before, by the same compiler for the same processor.

    Raises:
        OSError: It cannot be compiled, kept or loaded, or computes something else.
        SubprocessError: It cannot be compiled.
    """
    told = [SOURCE.read_text(), _version(_compiler()), _processor(), *flags]
    name = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    path = folder / f"native-{name}.so"
    with contextlib.suppress(OSError):  # not there, or damaged
        return _load(path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / path.name
        command = [*_compiler(), *flags, "-o", str(made), str(SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        found = _load(made)
        if not _agrees(found, dtype):
            raise OSError(f"what {_version(_compiler())} made computes something else")
        made.replace(path)  # at once, whoever else compiles it now
    return found


def _load(path: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(path))
    found.train.argtypes = [_WHOLE, _WHERE, *(3 * [_WHOLE]), *(9 * [_WHERE])]
    found.train.restype = ctypes.c_int
    return found


def _agrees(library: ctypes.CDLL, dtype: torch.dtype) -> bool:
    """Tell whether a few steps are those of `trainables.fast`, to rounding."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 40), generator=random, dtype=torch.uint8)
    positions = torch.randint(50, (4, 2, 9), generator=random)
    block = Block(0, 2, positions, positions % 3)
    optimizer = GNP(lr=0.1, rho=0.1, alpha=0.5, momentum=0.5)
    mine, theirs = (initial([40, 30, 3], [0, 1], dtype=dtype) for _ in range(2))
    moving, same = mine.zeros_like(), theirs.zeros_like()
    _train(library, mine, moving, optimizer, images, block)
    update = functools.partial(fast.step, theirs, same, optimizer)
    train_by_torch(update, Reader(images, dtype), block)
    most = 1000 * torch.finfo(dtype).eps
    pairs = zip(mine.tensors(), theirs.tensors(), strict=True)
    return all(torch.allclose(a, b, rtol=most, atol=most) for a, b in pairs)


@functools.cache
def _compiler() -> tuple[str, ...]:
    """Return the C compiler's command, from $CC or by the usual names; else nothing."""
    asked = os.environ.get("CC", "")
    for command in (asked, "cc", "gcc", "clang"):
        words = tuple(shlex.split(command))
        if words and shutil.which(words[0]):
            return words
    return ()


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    """Return the first line of what a compiler says of itself."""
    try:
        said = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return command[0]
    return (said.stdout.splitlines() or [command[0]])[0]


def _processor() -> str:
    """Return all that tells processors apart: another one may lack an instruction."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kinds = ("model name", "flags", "Features", "CPU part")
    said = sorted({line for line in lines if line.startswith(kinds)})
    return "\n".join([platform.machine(), platform.processor(), *said])
