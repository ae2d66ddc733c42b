"""Train the networks of several settings together.

On a GPU, we expect a step of a few small networks to take about as long as a step of
one, because launching kernels takes most of the time. Settings that differ only in lr,
rho and alpha compute the same operations with other numbers, so `JointRun` trains their
networks side by side, in one stack. Everything else is done setting by setting: the
tests, the probes, the records and the checkpoints.

    before each task   copy the networks of all runs into the stack, one after another
    training           each network has its own lr, rho and alpha (`Memory.marks`)
    after each task    copy the networks back

A network gets the same batches and the same updates as in a run of its own setting, up
to rounding errors.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.data import Dataset
from trainables.networks.stack import Stack
from trainables.record import Record
from trainables.run import ContinualRun, Lesson
from trainables.setting import Setting, common_setting
from trainables.steps.trainer import Trainer
from trainables.usage import UsageError

NUMBERS = ("lr", "rho", "alpha")
"""The hyperparameters in which settings that train together can differ."""


class Member(NamedTuple):
    """A network of a joint run: the number of its run, and its place in that run."""

    run: int
    place: int


class JointRun:
    """Runs of several settings with the same seeds, which train together.

    Attributes:
        runs: The run of each setting. They have finished equally many tasks.

    Raises:
        UsageError: The settings cannot train together.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        seeds: Sequence[int],
        dataset: Dataset,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        """Create the run of each setting.

        `common_setting` says which settings can train together. The other arguments are
        those of `ContinualRun`. The engine is "torch".
        """
        kinds = [common_setting(setting) for setting in settings]
        if kinds[0] is None or any(kind != kinds[0] for kind in kinds):
            raise UsageError(
                "the settings differ in more than lr, rho and alpha, or cannot train "
                "together: give each setting its own run"
            )
        options["engine"] = "torch"
        self.runs: list[ContinualRun] = []
        for setting in settings:
            run = ContinualRun(setting, seeds, dataset, device, **options)
            if self.runs:
                run.share_images(self.runs[0])
            self.runs.append(run)
        self._stack: Stack | None = None
        self._trainer = Trainer(kinds[0], "torch", self.runs[0].trainer.reader)

    @property
    def task(self) -> int:
        """The number of finished tasks."""
        return self.runs[0].task

    @property
    def finished(self) -> bool:
        """Whether all tasks of the stream are finished."""
        return self.runs[0].finished

    @property
    def engine(self) -> str:
        """The engine that trains the networks."""
        return self.runs[0].engine

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return self.runs[0].device

    def next_task(self) -> list[Record]:
        """Train on the next task; return the records of all runs, setting by setting.

        Raises:
            StopIteration: All tasks of the stream are finished.
        """
        if self.finished:
            raise StopIteration(f"all {self.runs[0].setting.tasks} tasks are finished")
        # a run whose networks have all diverged finishes its task before the others
        started, task = time.perf_counter(), self.task
        with contextlib.ExitStack() as opened:
            lessons = [
                opened.enter_context(contextlib.closing(run.lesson()))
                for run in self.runs
            ]
            measures = self._train(lessons, task)
            records = [
                record
                for lesson, own in zip(lessons, measures, strict=True)
                for record in lesson.finish(own)
            ]
        trained = [row for row in records if row["steps"]]
        for row in trained:
            row["seconds"] = (time.perf_counter() - started) / len(trained)
        return records

    @torch.no_grad()
    def _train(self, lessons: Sequence[Lesson], task: int) -> list[dict[str, Tensor]]:
        """Train all networks on their examples; return the measures of each run."""
        seed_of = {
            Member(i, place): seed
            for i, run in enumerate(self.runs)
            for place, seed in enumerate(run.alive)
        }
        if not seed_of:
            return [{} for _ in lessons]
        # the examples of a seed are the same in all runs
        examples = {
            seed: own
            for run, lesson in zip(self.runs, lessons, strict=True)
            for seed, own in zip(run.alive, lesson.examples, strict=True)
        }
        seeds = sorted(examples, key=lambda seed: (-len(examples[seed].labels), seed))
        rank = {seed: i for i, seed in enumerate(seeds)}
        members = sorted(seed_of, key=lambda member: rank[seed_of[member]])
        networks = Counter(seed_of.values())
        stack = self._join(members)
        stack.seeds, stack.task = [seed_of[member] for member in members], task
        measures = self._trainer.train(
            stack, [examples[seed] for seed in seeds], [networks[s] for s in seeds]
        )
        places = self._separate(stack, members)
        return [{k: v[own] for k, v in measures.items()} for own in places]

    def _join(self, members: list[Member]) -> Stack:
        """Return the stack of all networks, in the order of `members`.

        Captured steps use the memory of the stack, so it stays the same until a network
        diverges.
        """
        stacks = [run.stack for run in self.runs]
        first = [0, *itertools.accumulate(len(stack.seeds) for stack in stacks)]
        order = [first[run] + place for run, place in members]
        index = torch.tensor(order, device=self.runs[0].device)
        tensors = [
            torch.cat(parts)[index]
            for parts in zip(*(stack.tensors() for stack in stacks), strict=True)
        ]
        if self._stack is None or len(self._stack.seeds) != len(members):
            count = len(members)
            self._stack = stacks[0].map(
                [], lambda tensor: tensor.new_empty(count, *tensor.shape[1:])
            )
            numbers = self._stack.network.biases[0].new_empty(len(NUMBERS), count)
            self._stack.memory.marks |= dict(zip(NUMBERS, numbers, strict=True))
        tensors += self._numbers(members)
        for tensor, values in zip(self._stack.tensors(), tensors, strict=True):
            tensor.copy_(values)
        return self._stack

    def _numbers(self, members: list[Member]) -> list[Tensor]:
        """Return the `NUMBERS` of each network."""
        optimizers = [self.runs[member.run].setting.optimizer for member in members]
        like = self.runs[0].network.biases[0]
        return [
            like.new_tensor([getattr(optimizer, name) for optimizer in optimizers])
            for name in NUMBERS
        ]

    def _separate(self, stack: Stack, members: list[Member]) -> list[list[int]]:
        """Copy the networks back into their runs; return the places of each run.

        The places say where in the stack the networks of the run are.
        """
        place_of = {member: i for i, member in enumerate(members)}
        places = [
            [place_of[Member(i, place)] for place in range(len(run.alive))]
            for i, run in enumerate(self.runs)
        ]
        for run, own in zip(self.runs, places, strict=True):
            # the joint stack ends with the `NUMBERS`, which the runs do not have
            pairs = zip(run.stack.tensors(), stack.tensors(), strict=False)
            for tensor, joined in pairs:
                tensor.copy_(joined[own])
        return places
