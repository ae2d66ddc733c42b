"""Training and testing on a CPU in C (`c/steps.c`).

Faster than torch for three reasons: a network makes all steps of a block in one call,
with its weights in the core's cache; a step is one call and not some twenty; and
products of 16 examples run near the core's peak. Seeds share nothing, so a seed's
numbers do not depend on its stack.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from trainables.data.examples import Block, Examples, Reader
from trainables.network import Network
from trainables.optimizers import EPSILON, Optimizer
from trainables.steps import extension
from trainables.steps.extension import Batches, Hyperparameters, Parameters, Sums
from trainables.steps.training import StepSums


def train(
    network: Network,
    velocity: Network | None,
    optimizer: Optimizer,
    images: UInt8[Tensor, "N inputs"],
    block: Block,
) -> StepSums:
    """Train the block's seeds in place, spread over torch's threads.

    Args:
        network: The block's seeds.
        velocity: The momentum buffers; None without momentum.
        optimizer: SGD, SAM or GNP.
        images: All training images.
        block: The batches.

    Raises:
        Unavailable: The C extension cannot be used here.
        ValueError: A position or a label is out of range.
    """
    functions = extension.load(network.weights[0].dtype).functions
    steps, seeds, batch = block.positions.shape
    images = _check_images(network, images)
    positions, labels = _check_examples(network, images, block.positions, block.labels)
    hyperparameters = Hyperparameters(
        optimizer.lr,
        optimizer.weight_decay,
        optimizer.momentum,
        optimizer.rho,
        optimizer.alpha,
        EPSILON,
    )
    sums = (Sums * seeds)()

    def train_seed(seed: int) -> int:
        batches = Batches(
            steps,
            batch,
            seeds * batch,
            images.data_ptr(),
            positions[0, seed].data_ptr(),
            labels[0, seed].data_ptr(),
        )
        parameters = _parameters(network, velocity, seed)
        status: int = functions.train(parameters, batches, hyperparameters, sums[seed])
        return status

    _run_seeds(train_seed, seeds)
    return StepSums(*_tensor(sums).unbind(1))


def test(network: Network, stack: list[Examples], reader: Reader) -> dict[str, Tensor]:
    """Test every network on its own examples, as `trainables.measuring.test` does.

    Raises:
        Unavailable: The C extension cannot be used here.
        ValueError: A position or a label is out of range.
    """
    functions = extension.load(network.weights[0].dtype).functions
    images = _check_images(network, reader.images)
    sums = (Sums * len(stack))()

    def test_seed(seed: int) -> int:
        positions, labels = _check_examples(
            network, images, *(torch.from_numpy(array) for array in stack[seed])
        )
        count = len(labels)
        batches = Batches(
            1, count, count, images.data_ptr(), positions.data_ptr(), labels.data_ptr()
        )
        parameters = _parameters(network, None, seed)
        status: int = functions.test(parameters, batches, sums[seed])
        return status

    _run_seeds(test_seed, len(stack))
    counts = torch.tensor([len(examples.labels) for examples in stack])
    loss, correct = (_tensor(sums) / counts.unsqueeze(1)).unbind(1)
    return {"test_loss": loss, "test_accuracy": correct}


def _run_seeds(work: Callable[[int], int], seeds: int) -> None:
    """Call `work` for each seed, on as many threads as torch has.

    Raises:
        MemoryError: A call returned other than 0.
    """
    if torch.get_num_threads() == 1:
        statuses = [work(seed) for seed in range(seeds)]
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            statuses = list(pool.map(work, range(seeds)))
    if any(statuses):
        raise MemoryError("not enough memory for the steps in C")


def _parameters(network: Network, velocity: Network | None, seed: int) -> Parameters:
    """Return where a seed's tensors lie."""
    widths = [w.shape[1] for w in network.weights] + [network.weights[-1].shape[2]]
    parameters = Parameters(
        len(network.weights),
        (ctypes.c_int64 * len(widths))(*widths),
        _pointers(network.weights, seed),
        _pointers(network.biases, seed),
    )
    if velocity is not None:
        parameters.weight_velocities = _pointers(velocity.weights, seed)
        parameters.bias_velocities = _pointers(velocity.biases, seed)
    return parameters


def _pointers(tensors: list[Tensor], seed: int) -> Any:
    addresses = [tensor[seed].data_ptr() for tensor in tensors]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _tensor(sums: ctypes.Array[Sums]) -> Tensor:
    """Return (loss, correct) per seed, of shape (S, 2)."""
    return torch.frombuffer(sums, dtype=torch.float64).reshape(-1, 2)


def _check_images(network: Network, images: Tensor) -> Tensor:
    """Return the images as C reads them.

    Raises:
        ValueError: They are not bytes, as many as the network has inputs.
    """
    inputs = network.weights[0].shape[1]
    if images.dtype != torch.uint8 or images.shape[1] != inputs:
        raise ValueError(f"images must be {inputs} bytes each")
    return images.contiguous()


def _check_examples(
    network: Network, images: Tensor, positions: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return positions and labels as C reads them; C itself checks nothing.

    Raises:
        ValueError: An index is out of range.
    """
    outputs = network.weights[-1].shape[2]
    for name, indices, stop in (
        ("positions", positions, len(images)),
        ("labels", labels, outputs),
    ):
        if indices.min() < 0 or indices.max() >= stop:
            raise ValueError(f"{name} must be from 0 to below {stop}")
    return positions.long().contiguous(), labels.long().contiguous()
