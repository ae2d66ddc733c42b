"""What is measured after a task: on its test examples, and on the network itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.examples import Examples, Reader
from trainables.network import Network, cross_entropy, forward
from trainables.plain import loss_gradient
from trainables.probes import EXAMPLES, PROBES, Probe
from trainables.randomness import generator

TEST_BATCH = 1000
"""Test examples that go through a network at once."""


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
    network: Network, stack: Sequence[Examples], reader: Reader
) -> dict[str, Tensor]:
    """Measure the networks on examples of equal number.

    Returns:
        Every probe, and `finite` (1 where all weights are numbers, else 0), each of
        shape (S,), float64.
    """
    device = network.weights[0].device
    where = torch.from_numpy(np.stack([e.positions for e in stack])).to(device)
    labels = torch.from_numpy(np.stack([e.labels for e in stack])).to(device)
    inputs = reader.read(where)
    layers, _ = forward(network, inputs)
    gradient, _ = loss_gradient(network, inputs, labels)
    seen = Probe(network, layers[1:], gradient)
    values = {name: measure(seen) for name, measure in PROBES.items()}
    numbers = [tensor.isfinite().all(2).all(1) for tensor in network.tensors()]
    return values | {"finite": torch.stack(numbers).all(0).double()}
