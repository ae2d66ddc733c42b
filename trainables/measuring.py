"""What is measured around a task: on its test examples, and on the networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.examples import Examples, Reader
from trainables.network import Network, cross_entropy, forward
from trainables.probes import EXAMPLES, LANDSCAPE, PROBES, START, Landscape, Snapshot
from trainables.probes.lanczos import ROOM
from trainables.randomness import generator
from trainables.steps.reference import loss_gradient

TEST_BATCH = 1000
"""Test examples that go through a network at once."""

PROBE_EVERY = 10
"""Tasks from one look at the loss's landscape to the next: 5 to 10% of the time of a
task of MNIST's size on a CPU, on average (`python -m study.benchmark` measures it)."""

LOOK_MEMORY = {"cpu": 0, "cuda": 10**9}
"""Bytes that a look takes at most: a large stack is looked at in parts. On a CPU one
seed after the other is the faster, because it stays in the cache."""


class Place(NamedTuple):
    """Where a stack stands: its seeds, the task, each one's examples for the probes."""

    seeds: Sequence[int]
    task: int
    examples: Sequence[Examples]


def is_probed(task: int, tasks: int, every: int) -> bool:
    """Tell whether the loss's landscape is looked at around a task.

    It depends on nothing but numbers, so that a run that is stopped and gone on with
    looks where it would have looked.

    Args:
        task: Its number.
        tasks: The length of the stream; its first and last tasks are always looked at.
        every: Every how many tasks; 0: never.

    >>> [task for task in range(25) if is_probed(task, 25, every=10)]
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
    correct, loss = [], []
    for place, examples in enumerate(stack):
        alone = network.part(place, place + 1)
        where = torch.from_numpy(examples.positions).to(device)
        labels = torch.from_numpy(examples.labels).to(device)
        logits = torch.cat(
            [
                forward(alone, reader.read(some[None]))[1]
                for some in torch.split(where, TEST_BATCH)
            ],
            dim=1,
        )[0]
        correct.append((logits.argmax(-1) == labels).double().mean())
        loss.append(cross_entropy(logits, labels).double().mean())
    return {"test_loss": torch.stack(loss), "test_accuracy": torch.stack(correct)}


def drawn_for_probes(
    examples: Examples, seed: int, task: int, classes: int, dataset_labels: np.ndarray
) -> Examples:
    """Return the training examples of a task that its probes look at.

    As many as the smallest task of so many classes has, if that is fewer than
    `EXAMPLES`: no seed depends on the tasks of those that share its stack.
    """
    counts = np.bincount(dataset_labels, minlength=1)
    size = min(EXAMPLES, classes * int(counts[counts > 0].min()))
    order = generator("probe", seed, task).permutation(len(examples.labels))
    return examples.take(order[:size])


def probe(
    network: Network, place: Place, reader: Reader, initial: Network, before: Network
) -> dict[str, Tensor]:
    """Measure the networks on examples of equal number.

    Args:
        network: The networks.
        place: Where they stand.
        reader: Of the training images.
        initial: The networks before the first task.
        before: The networks before this task.

    Returns:
        `PROBES`, each of shape (S,) or (S, layers), float64, and `finite`: 1 where all
        weights are numbers, else 0.
    """
    inputs, labels = _read(network, place, reader)
    layers, _ = forward(network, inputs)
    gradient, _ = loss_gradient(network, inputs, labels)
    seen = Snapshot(network, layers[1:], gradient, initial, before)
    values = {name: measure.function(seen) for name, measure in PROBES.items()}
    numbers = [tensor.isfinite().all(2).all(1) for tensor in network.tensors()]
    return values | {"finite": torch.stack(numbers).all(0).double()}


def landscape(network: Network, place: Place, reader: Reader) -> dict[str, Tensor]:
    """Look at the loss around the networks: `LANDSCAPE`, each of shape (S,)."""
    return _joined(
        {name: measure.function(seen) for name, measure in LANDSCAPE.items()}
        for seen in _looks(network, place, reader)
    )


def start(network: Network, place: Place, reader: Reader) -> dict[str, Tensor]:
    """Measure the networks before a task: `START`, each of shape (S,)."""
    return _joined(map(_start, _looks(network, place, reader)))


def _start(around: Landscape) -> dict[str, Tensor]:
    layers, _ = forward(around.network, around.inputs)
    here = around.network
    seen = Snapshot(here, layers[1:], around.gradient, here, here)
    return {
        column: m.function(around if m.subject == "landscape" else seen)
        for column, m in START.items()
    }


def _looks(network: Network, place: Place, reader: Reader) -> Iterator[Landscape]:
    """Yield what the probes of the landscape see, for a few seeds at a time."""
    shapes = [tensor.shape[1:] for tensor in network.tensors()]
    vector = sum(shape.numel() for shape in shapes)
    layer = sum(shape[-1] for shape in shapes) * len(place.examples[0].labels)
    # Lanczos's vectors, and the graph that each product goes through
    each = network.weights[0].element_size() * (2 * ROOM * vector + 10 * layer)
    memory = LOOK_MEMORY.get(network.weights[0].device.type, 0)
    together = max(1, memory // each)
    for first in range(0, network.seeds, together):
        last = first + together
        some = Place(place.seeds[first:last], place.task, place.examples[first:last])
        part = network.part(first, last)
        yield Landscape(part, *_read(part, some, reader), some.seeds, some.task)


def _joined(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the measurements of some seeds and of others as those of all."""
    every = list(parts)
    return {name: torch.cat([part[name] for part in every]) for name in every[0]}


def _read(network: Network, place: Place, reader: Reader) -> tuple[Tensor, Tensor]:
    """Return the examples of a place, and their labels."""
    device = network.weights[0].device
    where, labels = (
        torch.from_numpy(np.stack([e[field] for e in place.examples])).to(device)
        for field in (0, 1)
    )
    return reader.read(where), labels
