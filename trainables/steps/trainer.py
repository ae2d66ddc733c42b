"""Train a stack on the examples of a task, with the engine and the device of a run."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.data.examples import Block, Examples, Reader, blocks
from trainables.interventions import Intervention, Update
from trainables.networks.stack import Stack
from trainables.randomness import generator
from trainables.setting import Setting
from trainables.steps import native
from trainables.steps.process import flushed_denormals
from trainables.steps.training import MIN_STEPS, Graphs, StepSums, train
from trainables.steps.update import make_update

GPU_STEPS = 64
"""On a GPU, the smallest number of steps in a block, except the last one."""


class Trainer:
    """Trains networks of one setting, or of settings that differ in lr, rho and alpha.

    Args:
        setting: The setting of the networks. If they differ in lr, rho and alpha, their
            memory has these numbers: see `Optimizer.rate`.
        engine: "reference", "torch" or "native".
        reader: Reads the training images.
    """

    def __init__(self, setting: Setting, engine: str, reader: Reader) -> None:
        """Store the arguments. A step is captured when it is first needed."""
        self.setting, self.engine, self.reader = setting, engine, reader
        self._graphs: Graphs | None = None
        self._captured: list[object] = []  # everything that captured steps depend on

    @torch.no_grad()
    @flushed_denormals()
    def train(
        self,
        stack: Stack,
        examples: Sequence[Examples],
        networks: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Train the networks of a stack in place on one task, for all epochs.

        Args:
            stack: The networks. Networks with the same seed are neighbors.
            examples: The training examples of each seed. The seed with the most
                examples comes first.
            networks: The number of networks of each seed, or None: one of each.

        Returns:
            online_accuracy and train_loss, each of shape (S,) and dtype float64, for S
            networks. Each example is evaluated before the update on its batch.
        """
        networks = networks or [1] * len(examples)
        first, *stops = itertools.accumulate(networks, initial=0)
        seeds = [stack.seeds[start] for start in (first, *stops[:-1])]
        device = stack.network.weights[0].device
        is_gpu = device.type == "cuda"
        correct = torch.zeros(stops[-1], device=device, dtype=torch.float64)
        loss = torch.zeros_like(correct)
        for epoch in range(self.setting.epochs):
            shuffled = []
            for seed, own in zip(seeds, examples, strict=True):
                random = generator("order", seed, stack.task, epoch)
                shuffled.append(own.take(random.permutation(len(own.labels))))
            least = GPU_STEPS if is_gpu else 1
            size = self.setting.batch_size
            for each in blocks(shuffled, size, device, least, networks):
                block = _for_each_network(each, networks)
                sums = self._train_block(stack, block)
                loss[block.start : block.stop] += sums.loss
                correct[block.start : block.stop] += sums.correct
        counts = np.repeat([len(own.labels) for own in examples], networks)
        seen = self.setting.epochs * torch.from_numpy(counts).to(device)
        return {"online_accuracy": correct / seen, "train_loss": loss / seen}

    def _train_block(self, stack: Stack, block: Block) -> StepSums:
        """Train on a block, which has the batches of several updates.

        On a GPU, replay the updates from a captured CUDA graph if possible.
        """
        intervention = self.setting.intervention
        if self.engine == "native" and self.setting.network is None:
            part = stack.part(block.start, block.stop)
            if intervention and intervention.rests:
                return self._train_in_turns(intervention, part, block)
            return native.train(self.setting, part, self.reader, block)
        # a CUDA graph cannot capture code that branches on the values of tensors
        branches = self.setting.optimizer.branches or (
            intervention is not None and intervention.steps
        )
        can_capture = block.positions.is_cuda and not branches
        if not can_capture or len(block.positions) < MIN_STEPS:
            bounds = block.start, block.stop
            update = _update(self.setting, self.engine, stack, *bounds)
            reader = self.reader.part(block.start, block.stop)
            return train(update, reader, block)
        return self._graphs_of(stack).train(block)

    def _graphs_of(self, stack: Stack) -> Graphs:
        """Return the captured steps, or new ones if their tensors were replaced."""
        images, orders = self.reader.images, self.reader.orders
        captured = [stack, images, orders, stack.network.outputs]
        pairs = itertools.zip_longest(captured, self._captured)
        if self._graphs is None or any(new is not old for new, old in pairs):
            self._graphs = None  # free the old graphs before new ones are captured
            update = functools.partial(_update, self.setting, self.engine, stack)
            outputs = stack.network.outputs or stack.network.biases[-1].shape[2]
            self._graphs = Graphs(update, stack.tensors(), outputs, self.reader)
            self._captured = captured
        return self._graphs

    def _train_in_turns(
        self, intervention: Intervention, stack: Stack, block: Block
    ) -> StepSums:
        """Train on a block in C, except for the updates at which the intervention acts.

        torch computes those updates, because the C code lacks the intervention.
        """
        engine = "torch" if stack.network.is_relu_mlp else "reference"
        update = make_update(self.setting, engine, stack)
        sums, done = [], 0
        while done < len(block.positions):
            idle_steps = intervention.idle_steps(stack)
            turn = slice(done, done + max(1, idle_steps))
            part = block._replace(
                positions=block.positions[turn], labels=block.labels[turn]
            )
            sums.append(
                native.train(self.setting, stack, self.reader, part)
                if idle_steps
                else train(update, self.reader, part)
            )
            done += len(part.positions)
        return StepSums(*(torch.stack(each).sum(0) for each in zip(*sums, strict=True)))


def _update(
    setting: Setting, engine: str, stack: Stack, start: int, stop: int
) -> Update:
    """Return the function that updates networks `start` to `stop` - 1."""
    return make_update(setting, engine, stack.part(start, stop))


def _for_each_network(block: Block, networks: Sequence[int]) -> Block:
    """Return the block of the networks, from the block of their seeds."""
    if max(networks) == 1:
        return block
    start = sum(networks[: block.start])
    own = networks[block.start : block.stop]
    # a GPU computes this index only if the program waits for it
    index = torch.from_numpy(np.repeat(np.arange(len(own)), own)).to(
        block.labels.device
    )
    positions, labels = (
        tensor.index_select(1, index) for tensor in (block.positions, block.labels)
    )
    return Block(start, start + labels.shape[1], positions, labels)
