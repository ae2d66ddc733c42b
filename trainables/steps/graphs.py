"""Whole steps as CUDA graphs: captured once per shape, replayed for every batch.

A network as small as these leaves a GPU idle between kernels: the launches cost more
than the kernels do. A captured step (draw, learn, count) is one launch. It reads which
batch is next from a counter on the device, so that nothing waits for the host.

What is captured is an ordinary function over memory that stays where it is; on a CPU
it can be called as it is, and so be tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.examples import Block, Reader
from trainables.network import cross_entropy
from trainables.steps.training import Told, Update

WORTH_STEPS = 16
"""Blocks of fewer steps (a task's last, short batch) are not worth a capture."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Makes of a function one that does the same when it is called."""


@dataclass
class Slot:
    """Where a captured step of one shape reads and writes.

    Attributes:
        positions: Shape (T, k, n); room for a block's.
        labels: Shape (T, k, n).
        turn: Shape (1,); which of the T batches is next.
        loss: Shape (k,), float64; the sum so far.
        right: Shape (k,), float64.
        replay: Does the next batch.
    """

    positions: Tensor
    labels: Tensor
    turn: Tensor
    loss: Tensor
    right: Tensor
    replay: Callable[[], None]


class Graphs:
    """The captured steps of one stack, whose tensors must stay where they are."""

    def __init__(
        self,
        update_of: Callable[[int, int], Update],
        tensors: Sequence[Tensor],
        reader: Reader,
        capture: Capture | None = None,
    ) -> None:
        """Capture nothing yet.

        Args:
            update_of: Returns what updates the seeds from `start` to before `stop`.
            tensors: All that an update changes.
            reader: Of the training images.
            capture: By default `captured`.
        """
        self._update_of, self._tensors, self._reader = update_of, tensors, reader
        self._capture = capture or self._captured
        self._slots: dict[tuple[int, int, int], Slot] = {}

    def train(self, block: Block) -> Told:
        """Train the block's seeds in place, as `training.train` does."""
        slot = self._slot(block)
        steps = len(block.positions)
        slot.positions[:steps].copy_(block.positions)
        slot.labels[:steps].copy_(block.labels)
        for tensor in (slot.turn, slot.loss, slot.right):
            tensor.zero_()
        for _ in range(steps):
            slot.replay()
        return slot.loss.clone(), slot.right.clone()

    def _slot(self, block: Block) -> Slot:
        """Return the slot for a block's shape with room for its steps."""
        key = (block.start, block.stop, block.positions.shape[2])
        slot = self._slots.get(key)
        if slot is None or len(slot.positions) < len(block.positions):
            slot = self._slots[key] = self._new_slot(block)
        return slot

    def _new_slot(self, block: Block) -> Slot:
        device = block.positions.device
        sums = torch.zeros(
            2, block.stop - block.start, dtype=torch.float64, device=device
        )
        slot = Slot(
            positions=block.positions.clone(),
            labels=block.labels.clone(),
            turn=torch.zeros(1, dtype=torch.int64, device=device),
            loss=sums[0],
            right=sums[1],
            replay=lambda: None,
        )
        update = self._update_of(block.start, block.stop)
        reader = self._reader.another()  # its memory must stay as well

        def once() -> None:
            positions = slot.positions.index_select(0, slot.turn)[0]
            labels = slot.labels.index_select(0, slot.turn)[0]
            inputs = reader.read(positions)
            logits = update(inputs, labels)
            slot.loss.add_(cross_entropy(logits, labels).double().sum(1))
            slot.right.add_((logits.argmax(-1) == labels).sum(1))
            slot.turn.add_(1)

        slot.replay = self._capture(once)
        return slot

    def _captured(self, once: Callable[[], None]) -> Callable[[], None]:
        """Capture a step as a CUDA graph.

        CUDA wants the work done a few times before, which changes the networks: they
        are put back as they were.
        """
        before = [tensor.clone() for tensor in self._tensors]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                once()
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(self._tensors, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            once()
        return graph.replay
