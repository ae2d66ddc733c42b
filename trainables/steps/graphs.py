"""Whole steps as CUDA graphs: captured once per shape, replayed for every batch.

Networks this small leave a GPU idle between kernels: launching a kernel takes longer
than running it. A captured step (read images, update, sum) is one launch. It reads the
number of the next batch from a counter on the device, so nothing waits for the host.

A step is an ordinary function over memory that never moves. Tests run it on a CPU
without capturing it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.examples import Block, Reader
from trainables.network import cross_entropy
from trainables.steps.training import StepSums, Update

MIN_STEPS = 16
"""Capturing pays off for blocks of at least this many steps."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Turns a step into a function that replays it."""


@dataclass
class CapturedStep:
    """The memory of a step of one shape, and the function that replays it.

    Attributes:
        positions: Shape (T, k, n); a block of up to T steps fits.
        labels: Shape (T, k, n).
        next_batch: Shape (1,); number of the next batch, below T.
        loss: Shape (k,), float64; sum so far.
        correct: Shape (k,), float64; sum so far.
        replay: Trains on the next batch.
    """

    positions: Tensor
    labels: Tensor
    next_batch: Tensor
    loss: Tensor
    correct: Tensor
    replay: Callable[[], None]


class Graphs:
    """The captured steps of one stack, whose tensors must never move.

    Args:
        make_update: Returns the update of the seeds from `start` to before `stop`.
        tensors: Everything that an update changes.
        reader: Reads the training images.
        capture: Default: capture a CUDA graph.
    """

    def __init__(
        self,
        make_update: Callable[[int, int], Update],
        tensors: Sequence[Tensor],
        reader: Reader,
        capture: Capture | None = None,
    ) -> None:
        """Capture nothing yet."""
        self._make_update, self._tensors, self._reader = make_update, tensors, reader
        self._capture = capture or self._capture_graph
        self._steps: dict[tuple[int, int, int], CapturedStep] = {}

    def train(self, block: Block) -> StepSums:
        """Train the block's seeds in place, as `training.train` does."""
        step = self._step(block)
        count = len(block.positions)
        step.positions[:count].copy_(block.positions)
        step.labels[:count].copy_(block.labels)
        for tensor in (step.next_batch, step.loss, step.correct):
            tensor.zero_()
        for _ in range(count):
            step.replay()
        return StepSums(step.loss.clone(), step.correct.clone())

    def _step(self, block: Block) -> CapturedStep:
        """Return the step of a block's shape, with memory for all its batches."""
        shape = (block.start, block.stop, block.positions.shape[2])
        step = self._steps.get(shape)
        if step is None or len(step.positions) < len(block.positions):
            step = self._steps[shape] = self._new_step(block)
        return step

    def _new_step(self, block: Block) -> CapturedStep:
        device = block.positions.device
        sums = torch.zeros(
            2, block.stop - block.start, dtype=torch.float64, device=device
        )
        step = CapturedStep(
            positions=block.positions.clone(),
            labels=block.labels.clone(),
            next_batch=torch.zeros(1, dtype=torch.int64, device=device),
            loss=sums[0],
            correct=sums[1],
            replay=lambda: None,
        )
        update = self._make_update(block.start, block.stop)
        reader = self._reader.clone()  # a reader's memory must not move either

        def train_batch() -> None:
            positions = step.positions.index_select(0, step.next_batch)[0]
            labels = step.labels.index_select(0, step.next_batch)[0]
            logits = update(reader.read(positions), labels)
            step.loss.add_(cross_entropy(logits, labels).double().sum(1))
            step.correct.add_((logits.argmax(-1) == labels).sum(1))
            step.next_batch.add_(1)

        step.replay = self._capture(train_batch)
        return step

    def _capture_graph(self, train_batch: Callable[[], None]) -> Callable[[], None]:
        """Capture a step as a CUDA graph.

        CUDA needs a few warm-up calls, which change the networks: restore them.
        """
        values = [tensor.clone() for tensor in self._tensors]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                train_batch()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, value in zip(self._tensors, values, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            train_batch()
        return graph.replay
