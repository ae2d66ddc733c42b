"""Measurements around a task: tests, probes of the networks, the loss landscape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.examples import Examples, Reader
from trainables.network import Network, cross_entropy, forward
from trainables.probes import EXAMPLES, PROBES, Function, Landscape, Snapshot
from trainables.probes.lanczos import ROOM
from trainables.randomness import generator
from trainables.steps.reference import loss_gradient

TEST_BATCH = 1000
"""Test examples that go through a network at once."""

CHUNK_MEMORY = {"cpu": 0, "cuda": 10**9}
"""Bytes that measuring the landscape may take: a large stack is measured in chunks. On
a CPU, one seed at a time is faster because it stays in the cache."""


class ProbeBatch(NamedTuple):
    """The examples that the probes of a stack use, in the order of the stack."""

    seeds: Sequence[int]
    task: int
    examples: Sequence[Examples]

    def part(self, start: int, stop: int) -> ProbeBatch:
        """Return the batch of the seeds from start to before stop."""
        return ProbeBatch(self.seeds[start:stop], self.task, self.examples[start:stop])

    def read(self, reader: Reader) -> tuple[Tensor, Tensor]:
        """Return images of shape (S, n, inputs) and labels of shape (S, n)."""
        device = reader.images.device
        positions = np.stack([e.positions for e in self.examples])
        labels = np.stack([e.labels for e in self.examples])
        images = reader.read(torch.from_numpy(positions).to(device))
        return images, torch.from_numpy(labels).to(device)


def landscape_is_due(task: int, tasks: int, every: int) -> bool:
    """Return whether to measure the loss landscape before and after a task.

    This depends only on numbers: a resumed run measures at the same tasks as an
    uninterrupted one.

    Args:
        task: Its number.
        tasks: Length of the stream. The first and the last task are always measured.
        every: Number of tasks from one measurement to the next; 0: never.

    >>> [task for task in range(25) if landscape_is_due(task, 25, every=10)]
    [0, 10, 20, 24]
    """
    return every > 0 and (task % every == 0 or task == tasks - 1)


def test(
    network: Network, stack: Sequence[Examples], reader: Reader
) -> dict[str, Tensor]:
    """Test every network on its own examples.

    Returns:
        test_loss and test_accuracy, each of shape (S,), float64.
    """
    device = network.weights[0].device
    accuracy, loss = [], []
    for i, examples in enumerate(stack):
        alone = network.part(i, i + 1)
        positions = torch.from_numpy(examples.positions).to(device)
        labels = torch.from_numpy(examples.labels).to(device)
        batches = torch.split(positions, TEST_BATCH)
        logits = torch.cat(
            [forward(alone, reader.read(batch[None]))[1] for batch in batches], dim=1
        )[0]
        accuracy.append((logits.argmax(-1) == labels).double().mean())
        loss.append(cross_entropy(logits, labels).double().mean())
    return {"test_loss": torch.stack(loss), "test_accuracy": torch.stack(accuracy)}


def draw_probe_examples(
    examples: Examples, seed: int, task: int, classes: int, dataset_labels: np.ndarray
) -> Examples:
    """Return the training examples of a task that its probes use.

    There are `EXAMPLES` of them; fewer where the smallest tasks of so many classes
    have fewer, so that the seeds of a stack have equally many.
    """
    counts = np.bincount(dataset_labels, minlength=1)
    size = min(EXAMPLES, classes * int(counts[counts > 0].min()))
    order = generator("probe", seed, task).permutation(len(examples.labels))
    return examples.take(order[:size])


def measure_network(
    network: Network,
    batch: ProbeBatch,
    reader: Reader,
    initial: Network,
    before: Network,
) -> dict[str, Tensor]:
    """Measure the networks after a task.

    Args:
        network: The networks.
        batch: Their probe examples.
        reader: Reads the training images.
        initial: The networks before the first task.
        before: The networks before this task.

    Returns:
        `PROBES`, each of shape (S,) or (S, layers), float64, and `finite`: 1 where all
        weights are finite, else 0.
    """
    inputs, labels = batch.read(reader)
    layers, _ = forward(network, inputs)
    gradient, _ = loss_gradient(network, inputs, labels)
    snapshot = Snapshot(network, layers[1:], gradient, initial, before)
    measures = {column: probe(snapshot) for column, probe in PROBES.items()}
    finite = [tensor.isfinite().all(2).all(1) for tensor in network.tensors()]
    return measures | {"finite": torch.stack(finite).all(0).double()}


def measure_landscape(
    probes: Mapping[str, Function],
    network: Network,
    batch: ProbeBatch,
    reader: Reader,
) -> dict[str, Tensor]:
    """Measure the loss around the networks, for as many seeds at a time as fit.

    Args:
        probes: `LANDSCAPE`, or `START` before a task.
        network: The networks.
        batch: Their probe examples.
        reader: Reads the training images.

    Returns:
        A tensor of shape (S,), float64, for each probe.
    """
    shapes = [tensor.shape[1:] for tensor in network.tensors()]
    weights = sum(shape.numel() for shape in shapes)
    activations = sum(shape[-1] for shape in shapes) * len(batch.examples[0].labels)
    # Lanczos's vectors, and the graph that each product goes through
    numbers = 2 * ROOM * weights + 10 * activations
    seed_memory = network.weights[0].element_size() * numbers
    memory = CHUNK_MEMORY.get(network.weights[0].device.type, 0)
    size = max(1, memory // seed_memory)
    chunks = []
    for start in range(0, network.seeds, size):
        part = batch.part(start, start + size)
        networks = network.part(start, start + size)
        landscape = Landscape(networks, *part.read(reader), part.seeds, part.task)
        chunks.append({column: probe(landscape) for column, probe in probes.items()})
    return {column: torch.cat([c[column] for c in chunks]) for column in probes}
