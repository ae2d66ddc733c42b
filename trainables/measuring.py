"""Measure networks before and after a task: tests, probes and the loss landscape."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.data.examples import Examples, Reader
from trainables.networks.network import Network, cross_entropy, forward
from trainables.networks.stack import Stack
from trainables.probes import EXAMPLES, PROBES, Function, Landscape, Snapshot
from trainables.probes.lanczos import ROOM
from trainables.probes.landscape import BATCH
from trainables.problems import Task
from trainables.randomness import generator
from trainables.record import Record, measure_columns
from trainables.steps.reference import Passes, both_passes

# A test processes this many examples at once, or fewer if the layers of the network
# would store more than this many numbers for them (1 GiB in float32).
TEST_BATCH, TEST_NUMBERS = 1000, 2**28

# A test processes this many perceptrons at once, by device type. On a CPU, one network
# is the fastest, because its data stay in the CPU's cache.
TEST_NETWORKS = {"cpu": 1, "cuda": 64}

# The most memory in bytes that measuring the loss landscape uses, by device type. If
# all seeds need more, they are measured in chunks of one or more seeds. On a CPU, each
# chunk has one seed, which is the fastest, because its data stay in the CPU's cache.
CHUNK_MEMORY = {"cpu": 0, "cuda": 10**9}


class ProbeBatch(NamedTuple):
    """The training examples of a task on which the probes measure each seed's network.

    `examples` has one item per seed, in the order of `seeds`.
    """

    seeds: Sequence[int]
    task: int
    examples: Sequence[Examples]

    def part(self, start: int, stop: int) -> ProbeBatch:
        """Return the examples of the seeds at positions start to stop - 1."""
        return ProbeBatch(self.seeds[start:stop], self.task, self.examples[start:stop])

    def read(self, reader: Reader) -> tuple[Tensor, Tensor]:
        """Return images of shape (S, n, inputs) and labels of shape (S, n).

        S is the number of seeds, and n is the number of examples per seed.
        """
        device = reader.images.device
        positions, labels = (
            torch.from_numpy(np.stack(arrays)).to(device)
            for arrays in zip(*self.examples, strict=True)
        )
        return reader.read(positions), labels


def _logits(network: Network, inputs: Tensor) -> Tensor:
    return forward(network, inputs)[1]


def measure_tests(
    network: Network,
    stack: Sequence[Examples],
    reader: Reader,
    logits_of: Callable[[Network, Tensor], Tensor] = _logits,
) -> dict[str, Tensor]:
    """Test the network of each seed on that seed's test examples.

    `stack` has the test examples of each of the S seeds. `logits_of` computes the
    logits of S networks from inputs of shape (S, n, inputs). Returns test_loss and
    test_accuracy, each of shape (S,) and dtype float64.
    """
    device = network.weights[0].device
    size, most = TEST_BATCH, TEST_NETWORKS.get(device.type, 1)
    if network.kind is not None:
        size, most = max(1, min(size, TEST_NUMBERS // _stored(network))), 1
    accuracy, loss = [], []
    for start, stop in _equal_sizes(stack, most):
        part, images = network.part(start, stop), reader.part(start, stop)
        positions, labels = (
            torch.from_numpy(np.stack(arrays)).to(device)
            for arrays in zip(*stack[start:stop], strict=True)
        )
        logits = torch.cat(
            [
                logits_of(part, images.read(batch))
                for batch in torch.split(positions, size, dim=1)
            ],
            dim=1,
        )
        accuracy.append((logits.argmax(-1) == labels).double().mean(1))
        loss.append(cross_entropy(logits, labels).double().mean(1))
    return {"test_loss": torch.cat(loss), "test_accuracy": torch.cat(accuracy)}


def _equal_sizes(stack: Sequence[Examples], most: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the stop of neighbors with equally many examples.

    At most `most` neighbors are together.
    """
    start = 0
    for _, same in itertools.groupby(stack, lambda own: len(own.labels)):
        end = start + len(list(same))
        for first in range(start, end, most):
            yield first, min(first + most, end)
        start = end


def draw_probe_batch(
    stack: Stack,
    tasks: Sequence[Task],
    examples: Sequence[Examples],
    dataset_labels: np.ndarray,
) -> ProbeBatch:
    """Draw the training examples on which the probes measure each seed's network.

    The tasks of different seeds can differ in size, but all seeds must get equally many
    examples. So each seed gets `EXAMPLES` examples, but not more than the number of
    classes of the task times the size of the dataset's smallest class.
    """
    counts = np.bincount(dataset_labels)
    smallest_class = int(counts[counts > 0].min())
    chosen = []
    for seed, task, own in zip(stack.seeds, tasks, examples, strict=True):
        size = min(EXAMPLES, len(task.classes) * smallest_class)
        order = generator("probe", seed, stack.task).permutation(len(own.labels))
        chosen.append(own.take(order[:size]))
    return ProbeBatch(stack.seeds, stack.task, chosen)


def measure_network(
    network: Network,
    batch: ProbeBatch,
    reader: Reader,
    initial: Network,
    before: Network,
    passes: Passes = both_passes,
) -> dict[str, Tensor]:
    """Measure the networks of S seeds after a task, with all probes in `PROBES`.

    `initial` has the networks before the first task, and `before` those before this
    task. `passes` is `both_passes` or a faster function with the same results. Returns
    a tensor for each probe, of shape (S,) or (S, layers) and dtype float64, and the
    result of `finite`.
    """
    measures = []
    # architectures other than the perceptron need much memory: one seed at a time
    size = network.seeds if network.kind is None else 1
    for i in range(0, network.seeds, size):
        inputs, labels = batch.part(i, i + size).read(reader.part(i, i + size))
        own, *others = (n.part(i, i + size) for n in (network, initial, before))
        gradient, hidden, _ = passes(own, inputs, labels)
        snapshot = Snapshot(own, hidden, gradient, *others)
        measures.append({column: probe(snapshot) for column, probe in PROBES.items()})
    joined = {name: torch.cat([m[name] for m in measures]) for name in PROBES}
    return joined | {"finite": finite(network)}


def finite(network: Network) -> Tensor:
    """Return 1 for each seed whose weights are all finite, else 0; float64, (S,)."""
    # the largest number is NaN if any number is NaN
    rows = [tensor.abs().amax((1, 2)).isfinite() for tensor in network.tensors()]
    return torch.stack(rows).all(0).double()


def measure_landscape(
    probes: Mapping[str, Function],
    network: Network,
    batch: ProbeBatch,
    reader: Reader,
) -> dict[str, Tensor]:
    """Measure the loss landscape: the loss at weights near the weights of a network.

    `probes` is `START` before a task and `LANDSCAPE` after a task. The seeds are
    measured in chunks (`CHUNK_MEMORY`). Returns a tensor for each probe, of shape (S,)
    for S seeds and dtype float64.
    """
    shapes = [tensor.shape[1:] for tensor in network.tensors()]
    weights = sum(shape.numel() for shape in shapes)
    activations = sum(shape[-1] for shape in shapes)
    if network.kind is not None:
        activations = _stored(network)
    activations *= len(batch.examples[0].labels)
    # estimate the numbers that a seed stores: copies of its weights (as Lanczos
    # vectors, or for small batches without a `Chain`), and layers with derivatives
    copies = max(2 * ROOM, 5 * EXAMPLES // BATCH)
    numbers = copies * weights + 10 * activations
    seed_memory = network.weights[0].element_size() * numbers
    memory = CHUNK_MEMORY.get(network.weights[0].device.type, 0)
    size = max(1, memory // seed_memory)
    chunks = []
    for start in range(0, network.seeds, size):
        part = batch.part(start, start + size)
        networks = network.part(start, start + size)
        inputs, labels = part.read(reader.part(start, start + size))
        if network.kind is None and size == 1:
            networks, inputs = _without_dark_pixels(networks, inputs)
        landscape = Landscape(networks, inputs, labels, part.seeds, part.task)
        chunks.append(_measure(probes, landscape))
    return {column: torch.cat([c[column] for c in chunks]) for column in probes}


def _without_dark_pixels(network: Network, inputs: Tensor) -> tuple[Network, Tensor]:
    """Return one network and its inputs without the inputs that are 0 in all examples.

    The loss on these examples does not depend on the weights of such inputs. Of 512
    digits of MNIST, about 200 of the 784 pixels are always 0. The random vector of
    hessian_rank gets shorter, so that the estimate is another one.
    """
    is_lit = (inputs != 0).any(dim=1)[0]
    weights = [network.weights[0][:, is_lit], *network.weights[1:]]
    return network.like([*weights, *network.biases]), inputs[..., is_lit]


def _stored(network: Network) -> int:
    """Return how many numbers the layers of an architecture store per example."""
    assert network.kind is not None
    dense = [bias.shape[2] for bias in network.biases[network.kind.front :]]
    layers = network.kind.layers(network.form, dense)
    return sum(layer.numbers for layer in layers)


# the measures of landscapes before training, by `_digest`
_initial_measures: dict[bytes, dict[str, Tensor]] = {}


def _measure(probes: Mapping[str, Function], landscape: Landscape) -> dict[str, Tensor]:
    """Measure a landscape, unless this process has measured the same one.

    Before the first task, all settings with the same network and the same stream have
    equal landscapes, e.g. most settings of the study `remedies`.
    """
    if landscape.task > 0:
        return {column: probe(landscape) for column, probe in probes.items()}
    key = _digest(probes, landscape)
    if key not in _initial_measures:
        _initial_measures[key] = {c: probe(landscape) for c, probe in probes.items()}
    return _initial_measures[key]


def _digest(probes: Mapping[str, Function], landscape: Landscape) -> bytes:
    """Return a hash of all that determines the measures of a landscape."""
    network = landscape.network
    forms = network.normalized, network.activation, network.kind, network.form
    hashed = hashlib.sha256(
        repr((list(probes), list(landscape.seeds), forms, network.outputs)).encode()
    )
    numbers = *network.tensors(), *network.statistics
    for tensor in (*numbers, landscape.inputs, landscape.labels):
        hashed.update(repr((tensor.shape, tensor.dtype, tensor.device)).encode())
        hashed.update(tensor.cpu().numpy().tobytes())
    return hashed.digest()


def by_seed(measures: dict[str, Tensor]) -> list[Record]:
    """Convert the measures of S seeds from one tensor per column to one dict per seed.

    A column of numbers has the shape (S,), and a column of lists (S, n).

    >>> by_seed({"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4], [5, 6]])})
    [{'a': 1, 'b': [3, 4]}, {'a': 2, 'b': [5, 6]}]
    """
    columns = (values.tolist() for values in measures.values())
    return [dict(zip(measures, row, strict=True)) for row in zip(*columns, strict=True)]


def is_finite(measures: Record) -> bool:
    """Return whether the train loss, the test loss and the weights are finite."""
    losses = (measures["train_loss"], measures["test_loss"])
    return measures["finite"] == 1 and all(map(math.isfinite, losses))


def measure_values(measures: Record) -> Record:
    """Return the value of each measure column; None if it is missing or not finite."""
    return {name: _null_if_not_finite(measures.get(name)) for name in measure_columns()}


def _null_if_not_finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_null_if_not_finite(number) for number in value]
    return value if value is not None and math.isfinite(value) else None
