"""The native engine: training and testing in C on a CPU (`c/steps.c`).

The C steps are faster than torch for three reasons:

- A network does all steps of a block of batches in one call. Its weights therefore stay
  in the cache of the core.
- A step does not have the overhead of about twenty calls of torch.
- Matrix products with 16 examples run near the peak speed of the core.

The seeds share no data. The results of a seed therefore do not depend on the other
seeds that are trained together.
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
from trainables.optimizers import ASAM, EPSILON, Optimizer
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
    """Train the seeds of a block in place; return each seed's sums over the block.

    The seeds are trained in parallel, on as many threads as torch uses. `velocity` has
    the momentum buffers, or is None without momentum. `optimizer` is SGD, SAM, GNP or
    ASAM. `images` are all training images of the dataset.

    Raises:
        Unavailable: The C extension cannot be used on this machine.
        ValueError: A position or a label is out of range, or the images do not fit the
            network.
    """
    functions = extension.load(network.weights[0].dtype).functions
    steps, seeds, batch = block.positions.shape
    images = _check_images(network, images)
    positions, labels = _check_examples(network, images, block.positions, block.labels)
    o = optimizer
    eta = o.eta if isinstance(o, ASAM) else 0
    hyperparameters = Hyperparameters(
        *(o.lr, o.weight_decay, o.momentum, o.rho, o.alpha, EPSILON),
        *(eta, o.scales_biases),
    )

    def train_seed(seed: int, sums: Sums) -> Any:
        arrays = [t.data_ptr() for t in (images, positions[0, seed], labels[0, seed])]
        batches = Batches(steps, batch, seeds * batch, *arrays)
        parameters = _parameters(network, velocity, seed)
        return functions.train(parameters, batches, hyperparameters, sums)

    return StepSums(*_run_seeds(train_seed, seeds).unbind(1))


def test(network: Network, stack: list[Examples], reader: Reader) -> dict[str, Tensor]:
    """Test the network of each seed on that seed's examples.

    The result is that of `trainables.measuring.test`: test_loss and test_accuracy.

    Raises:
        Unavailable: The C extension cannot be used on this machine.
        ValueError: A position or a label is out of range, or the images do not fit the
            network.
    """
    functions = extension.load(network.weights[0].dtype).functions
    images = _check_images(network, reader.images)

    def test_seed(seed: int, sums: Sums) -> Any:
        positions, labels = _check_examples(
            network, images, *map(torch.from_numpy, stack[seed])
        )
        arrays = [t.data_ptr() for t in (images, positions, labels)]
        batches = Batches(1, len(labels), len(labels), *arrays)
        return functions.test(_parameters(network, None, seed), batches, sums)

    counts = torch.tensor([len(examples.labels) for examples in stack])
    sums = _run_seeds(test_seed, len(stack))
    loss, correct = (sums / counts.unsqueeze(1)).unbind(1)
    return {"test_loss": loss, "test_accuracy": correct}


def _run_seeds(work: Callable[[int, Sums], Any], seeds: int) -> Tensor:
    """Call `work` for each seed in parallel, on as many threads as torch uses.

    Returns the sums (loss, correct predictions) of each seed, of shape (S, 2).
    """
    sums = (Sums * seeds)()
    threads = torch.get_num_threads()
    if threads == 1:
        statuses = list(map(work, range(seeds), sums))
    else:
        with ThreadPoolExecutor(threads) as pool:
            statuses = list(pool.map(work, range(seeds), sums))
    if any(statuses):
        raise MemoryError("memory ran out in the C steps: free some memory and retry")
    return torch.frombuffer(sums, dtype=torch.float64).reshape(-1, 2)


def _parameters(network: Network, velocity: Network | None, seed: int) -> Parameters:
    """Return the C struct that points to the weights and velocities of a seed."""
    widths = [w.shape[1] for w in network.weights] + [network.weights[-1].shape[2]]
    networks = [network] if velocity is None else [network, velocity]
    return Parameters(
        len(network.weights),
        (ctypes.c_int64 * len(widths))(*widths),
        *(
            _pointers(layers, seed)
            for n in networks
            for layers in (n.weights, n.biases)
        ),
    )


def _pointers(tensors: list[Tensor], seed: int) -> Any:
    addresses = [tensor[seed].data_ptr() for tensor in tensors]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _check_images(network: Network, images: Tensor) -> Tensor:
    """Return the images as contiguous memory, which the C code needs.

    Raises:
        ValueError: An image does not have one byte per input of the network.
    """
    inputs = network.weights[0].shape[1]
    if images.dtype != torch.uint8 or images.shape[1] != inputs:
        raise ValueError(f"each image must have {inputs} bytes, one per network input")
    return images.contiguous()


def _check_examples(
    network: Network, images: Tensor, positions: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return positions and labels as contiguous int64, which the C code needs.

    Raises:
        ValueError: A position or a label is out of range. The C code does not check
            this.
    """
    outputs = network.weights[-1].shape[2]
    for name, indices, stop in (
        ("positions", positions, len(images)),
        ("labels", labels, outputs),
    ):
        if indices.min() < 0 or indices.max() >= stop:
            raise ValueError(f"{name} must be at least 0 and below {stop}")
    return positions.long().contiguous(), labels.long().contiguous()
