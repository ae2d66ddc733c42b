"""Train with torch on a block of batches: read images, update, sum the losses.

On a GPU, launching a kernel for networks of this size takes longer than running it. The
GPU would therefore be idle between kernels. `Graphs` captures whole steps (read images,
update, keep the logits) as a CUDA graph, once per shape of a block (networks and batch
size). It replays the graph for all batches, with one launch for `GRAPH_STEPS` steps. A
captured step reads the number of the next batch from a counter on the device. The
device therefore never waits for the host.

An uncaptured step is an ordinary function, so tests can run it on a CPU.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from trainables.data.examples import Block, Reader
from trainables.interventions import Update
from trainables.networks.network import cross_entropy

READ_EXAMPLES = 320
"""The number of images to read at once: about as many as fit in the cache of a core."""

GRAPH_STEPS = 8
"""The number of steps in a captured graph. A second graph has one step."""

MIN_STEPS = 16
"""The smallest number of steps in a block for which capturing a step saves time."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""The type of a function that captures a step, and returns a function to replay it."""


class StepSums(NamedTuple):
    """Each seed's sums over all examples of a block of batches.

    The sums are computed from the logits before each update.
    """

    loss: Float64[Tensor, " k"]  # cross-entropy in nats
    correct: Float64[Tensor, " k"]  # number of correctly classified examples


def train(update: Update, reader: Reader, block: Block) -> StepSums:
    """Train the networks of a block's seeds in place; return each seed's sums."""
    steps = max(1, READ_EXAMPLES // block.positions[0].numel())
    step_logits = []
    for positions, labels in zip(
        torch.split(block.positions, steps),
        torch.split(block.labels, steps),
        strict=True,
    ):
        inputs = reader.read(positions)
        step_logits += [update(x, y) for x, y in zip(inputs, labels, strict=True)]
    return _sums(torch.stack(step_logits), block.labels)


def _sums(
    logits: Float[Tensor, "T k n outputs"], labels: Int[Tensor, "T k n"]
) -> StepSums:
    losses = cross_entropy(logits, labels).double()
    # sum a row per seed, so that the number of seeds does not change the order of a sum
    loss = losses.transpose(0, 1).flatten(1).sum(1)
    correct = (logits.argmax(-1) == labels).sum((0, 2)).double()
    return StepSums(loss, correct)


@dataclass
class CapturedStep:
    """The memory of captured steps, and the functions that replay the steps.

    A captured step trains k networks on n examples each.
    """

    positions: Tensor  # (T, k, n), for blocks of at most T steps
    labels: Tensor  # (T, k, n)
    logits: Tensor  # (T, k, n, outputs), before each update
    next_batch: Tensor  # (1,): number of the next batch in the block
    owners: list[object]  # of memory that a graph uses, which must live as long
    replay: Callable[[], None] = field(init=False)  # trains on the next batch
    replay_many: Callable[[], None] = field(init=False)  # on the next `GRAPH_STEPS`


class Graphs:
    """Trains the networks of one stack with captured steps (CUDA graphs).

    A captured step uses fixed memory addresses. The tensors of the stack must therefore
    never move to other memory.

    Args:
        make_update: Takes `start` and `stop`, and returns a function that updates the
            networks of the seeds at positions start to stop - 1.
        tensors: All tensors that an update changes. The first ones are the weights.
        outputs: The number of logits of a network.
        reader: Reads the training images.
        capture: Captures a step. The default captures the step as a CUDA graph.
    """

    def __init__(
        self,
        make_update: Callable[[int, int], Update],
        tensors: Sequence[Tensor],
        outputs: int,
        reader: Reader,
        capture: Capture | None = None,
    ) -> None:
        """Store the arguments. A step is captured when it is first needed."""
        self._make_update, self._tensors, self._reader = make_update, tensors, reader
        self._outputs = outputs
        # not a method: a cycle of references would keep old graphs alive
        self._capture = capture or functools.partial(capture_graph, tensors)
        self._steps: dict[tuple[int, int, int], CapturedStep] = {}

    def train(self, block: Block) -> StepSums:
        """Train the networks of a block's seeds in place; return each seed's sums."""
        shape = (block.start, block.stop, block.positions.shape[2])
        count = len(block.positions)
        step = self._steps.get(shape)
        if step is None or len(step.positions) < count:
            # twice the memory after the first time, so that few captures are needed
            capacity = count if step is None else 2 * count
            step = self._steps[shape] = self._new_step(block, capacity)
        step.positions[:count].copy_(block.positions)
        step.labels[:count].copy_(block.labels)
        step.next_batch.zero_()
        for _ in range(count // GRAPH_STEPS):
            step.replay_many()
        for _ in range(count % GRAPH_STEPS):
            step.replay()
        return _sums(step.logits[:count], block.labels)

    def _new_step(self, block: Block, capacity: int) -> CapturedStep:
        """Capture a step for blocks like this one, of at most `capacity` batches."""
        shape = capacity, *block.labels.shape[1:]
        positions, labels = (
            block.positions.new_zeros(shape),
            block.labels.new_zeros(shape),
        )
        logits = self._tensors[0].new_empty(*shape, self._outputs)
        update = self._make_update(block.start, block.stop)
        # the memory of the reader must not move either
        reader = self._reader.part(block.start, block.stop).clone()
        next_batch = labels.new_zeros(1)
        step = CapturedStep(positions, labels, logits, next_batch, [update, reader])

        def train_batch() -> None:
            positions = step.positions.index_select(0, step.next_batch)[0]
            labels = step.labels.index_select(0, step.next_batch)[0]
            logits = update(reader.read(positions), labels)
            step.logits.index_copy_(0, step.next_batch, logits[None])
            step.next_batch.add_(1)

        def train_many() -> None:
            for _ in range(GRAPH_STEPS):
                train_batch()

        step.replay = self._capture(train_batch)
        step.next_batch.zero_()  # capturing has trained on some batches
        step.replay_many = self._capture(train_many)
        return step


def capture_graph(
    tensors: Sequence[Tensor], steps: Callable[[], None]
) -> Callable[[], None]:
    """Capture steps as a CUDA graph; return the function that replays them.

    CUDA needs a warm-up call of the steps before the capture. This call changes
    `tensors`, so their previous values are restored afterwards.
    """
    values = [tensor.clone() for tensor in tensors]
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        steps()
    torch.cuda.current_stream().wait_stream(stream)
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    # freeing another graph during the capture would spoil it
    gc.collect()
    gc.disable()
    try:
        with torch.cuda.graph(graph):
            steps()
    finally:
        gc.enable()
    return graph.replay
