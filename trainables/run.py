"""One continual run, for a stack of seeds: networks that learn and are never reset.

    for each task:
        whatever an intervention does before it
        look at the landscape of its loss, if it is among those looked at
        for each batch:  step (its logits, from before the update, give the online
                         accuracy and the training loss)
        test on the task's test examples, probe, make one record a seed

To permute the pixels of every image is to permute the rows of the first layer, 784
rows in place of 60,000 images; so for the time of a task the first layer stands in the
pixels' own order, and is put back into the network's order after it.

There is no input or output here: drive it from a test, a notebook or a script.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables import measuring
from trainables.checks import whole
from trainables.datasets import Dataset
from trainables.examples import Block, Examples, Reader, blocks, select, to_tensor
from trainables.measuring import PROBE_EVERY, Place, drawn_for_probes, is_probed
from trainables.network import initial
from trainables.problems import PIXELS, Task
from trainables.randomness import SEEDS, generator
from trainables.record import MEASURED, Record
from trainables.rows import is_finite, rows_of, told
from trainables.setting import Setting
from trainables.stack import Stack
from trainables.steps import native
from trainables.steps.engine import choose_engine
from trainables.steps.graphs import MIN_STEPS, Graphs
from trainables.steps.training import StepSums, Update, train
from trainables.steps.update import initial_memory, make_update
from trainables.usage import UsageError


class ContinualRun:
    """One setting, for several seeds side by side.

    Args:
        setting: What to run.
        seeds: Different ones, each in [0, 2**32).
        data: The setting's dataset.
        device: Where the networks and the images lie.
        dtype: Of the networks; float64 for tests.
        engine: The engine to prefer (see `trainables.steps.engine`).
        probe_every: Tasks from one look at the loss's landscape to the next (see
            `measuring.is_probed`); 0: never; None: `measuring.PROBE_EVERY`. What is
            looked at changes no network.
        look_back: How many of the tasks before are tested after each task; 0: none.

    Attributes:
        task: The number of tasks done.
        alive: The seeds that have not diverged, in the order of the stack.
        network: Their networks.
        memory: What they remember besides: momentum, what an intervention needs.
        phases: Seconds spent so far on permuting, training, testing, probes and the
            landscape (on a GPU, on giving it the work).

    Raises:
        UsageError: The seeds are not as they should be, or the dataset is another.
    """

    def __init__(
        self,
        setting: Setting,
        seeds: Sequence[int],
        data: Dataset,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: str | None = None,
        probe_every: int | None = None,
        look_back: int = 0,
    ) -> None:
        """Draw the initial networks."""
        if not seeds or len(set(seeds)) < len(seeds):
            raise UsageError(f"seeds are {list(seeds)}: give at least one, each once")
        for seed in seeds:
            whole("seed", seed, 0, SEEDS - 1)
        if data.name != setting.dataset:
            raise UsageError(f"dataset is {data.name}, the setting's {setting.dataset}")
        every = PROBE_EVERY if probe_every is None else probe_every
        self.probe_every = whole("probe_every", every, 0)
        self.look_back = whole("look_back", look_back, 0)
        self.setting, self.seeds, self.data = setting, list(seeds), data
        self.device, self.dtype = torch.device(device), dtype
        self._train_images = Reader(to_tensor(data.train_images, device), dtype)
        self._test_images = Reader(to_tensor(data.test_images, device), dtype)
        sizes = [PIXELS, *setting.hidden, setting.problem.outputs]
        self.task = 0
        self.phases: dict[str, float] = {}
        self._graphs: Graphs | None = None
        self.alive = list(seeds)
        normalized = bool(setting.intervention and setting.intervention.normalizes)
        self.network = initial(sizes, seeds, device, dtype, normalized=normalized)
        self.engine = choose_engine(setting, self.network, engine)
        self._test = native.test if self.engine == "native" else measuring.test
        self.memory = initial_memory(setting, self.network)
        self._initial = self.network.map(torch.clone)  # in the order of `seeds`

    @property
    def finished(self) -> bool:
        """Whether the stream has ended."""
        return self.task >= self.setting.tasks

    @torch.no_grad()
    def next_task(self) -> list[Record]:
        """Learn the next task; return one record a seed, in the order of the seeds.

        Raises:
            StopIteration: The stream has ended.
        """
        if self.finished:
            raise StopIteration(f"all {self.setting.tasks} tasks are done")
        started = time.perf_counter()
        problem = self.setting.problem
        tasks = {seed: problem.task(seed, self.task) for seed in self.seeds}
        measured = self._learn(tasks) if self.alive else {}
        lost = [s for s in measured if not is_finite(measured[s])]
        self._drop(lost)
        share = (time.perf_counter() - started) / max(1, len(measured))
        records = [
            self._record(seed, tasks[seed], measured.get(seed), seed in lost, share)
            for seed in self.seeds
        ]
        self.task += 1
        return records

    def _learn(self, tasks: dict[int, Task]) -> dict[int, Record]:
        """Train, test and probe; return what was measured on each seed alive."""
        train = self._sort({s: select(tasks[s], self.data.train_labels) for s in tasks})
        if self.setting.intervention is not None:
            with self._timed("training"):
                self.setting.intervention.begin_task(self._stack())
        with self._timed("permuting"):
            orders = self._permute_inputs(tasks, inverse=True)
            before = self.network.map(torch.clone)
        with self._timed("probes"):
            place, images = self._place(tasks, train), self._train_images
        looks = is_probed(self.task, self.setting.tasks, self.probe_every)
        measured = {}
        if looks:
            with self._timed("landscape"):
                measured = measuring.start(self.network, place, images)
        with self._timed("training"):
            measured |= self.train(train)
        with self._timed("testing"):
            tests = [select(tasks[s], self.data.test_labels) for s in self.alive]
            measured |= self._test(self.network, tests, self._test_images)
        with self._timed("probes"):
            first = self._initial.take([self.seeds.index(s) for s in self.alive])
            if orders is not None:
                first.take_inputs(orders)
            measured |= measuring.probe(self.network, place, images, first, before)
        if looks:
            with self._timed("landscape"):
                measured |= measuring.landscape(self.network, place, images)
        with self._timed("permuting"):
            self._permute_inputs(tasks, inverse=False)
        with self._timed("testing"):
            measured |= self._test_earlier()
        rows = rows_of(measured)
        steps = [
            self.setting.epochs * -(-len(e.labels) // self.setting.batch_size)
            for e in train
        ]
        return {
            seed: row | {"steps": n}
            for seed, row, n in zip(self.alive, rows, steps, strict=True)
        }

    def _test_earlier(self) -> dict[str, Tensor]:
        """Test on the tasks before; return backward_accuracy, of shape (S, tasks)."""
        found = []
        for back in range(1, 1 + min(self.look_back, self.task)):
            tasks = [self.setting.problem.task(s, self.task - back) for s in self.alive]
            network = self.network.map(torch.clone)
            if (orders := self._orders(tasks, inverse=True)) is not None:
                network.take_inputs(orders)
            tests = [select(task, self.data.test_labels) for task in tasks]
            tested = self._test(network, tests, self._test_images)
            found.append(tested["test_accuracy"])
        return {"backward_accuracy": torch.stack(found, dim=1)} if found else {}

    def _place(self, tasks: dict[int, Task], train: list[Examples]) -> Place:
        """Return where the stack stands, with the examples for the probes."""
        drawn = [
            drawn_for_probes(
                e, s, self.task, len(tasks[s].classes), self.data.train_labels
            )
            for s, e in zip(self.alive, train, strict=True)
        ]
        return Place(self.alive, self.task, drawn)

    def _sort(self, examples: dict[int, Examples]) -> list[Examples]:
        """Sort the stack by the sizes of its tasks, falling (see `examples`)."""
        places = range(len(self.alive))
        sizes = [len(examples[seed].labels) for seed in self.alive]
        order = sorted(places, key=lambda place: -sizes[place])
        if order != list(places):
            self._take(order)
        return [examples[seed] for seed in self.alive]

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        """Add the time that it takes to the phase's."""
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.phases[phase] = self.phases.get(phase, 0.0) + spent

    @torch.no_grad()
    def train(self, stack: list[Examples]) -> dict[str, Tensor]:
        """Train each seed alive on its examples, every batch of every epoch.

        Args:
            stack: In the order of `alive`, their sizes falling.

        Returns:
            online_accuracy and train_loss, each of shape (S,).
        """
        correct = torch.zeros(len(stack), device=self.device, dtype=torch.float64)
        loss = torch.zeros_like(correct)
        for epoch in range(self.setting.epochs):
            shuffled = [
                e.take(generator("order", s, self.task, epoch).permutation(len(e[0])))
                for s, e in zip(self.alive, stack, strict=True)
            ]
            for block in blocks(shuffled, self.setting.batch_size, self.device):
                sums = self._train_block(block)
                loss[block.start : block.stop] += sums.loss
                correct[block.start : block.stop] += sums.correct
        seen = self.setting.epochs * torch.tensor(
            [len(e.labels) for e in stack], device=self.device
        )
        return {"online_accuracy": correct / seen, "train_loss": loss / seen}

    def _train_block(self, block: Block) -> StepSums:
        """Train on a block: in C, or on a GPU by captured steps, where that can be."""
        if self.engine == "native":
            stack = self._stack(block.start, block.stop)
            return native.train(
                stack.network,
                stack.memory.moments.get("velocity"),
                self.setting.optimizer,
                self._train_images.images,
                block,
            )
        small = self.device.type != "cuda" or len(block.positions) < MIN_STEPS
        intervention = self.setting.intervention
        # what an intervention does around a step depends on what it finds
        if small or (intervention and intervention.steps):
            update = self._update(block.start, block.stop)
            return train(update, self._train_images, block)
        if self._graphs is None:
            tensors = [*self.network.tensors(), *self.memory.named().values()]
            self._graphs = Graphs(self._update, tensors, self._train_images)
        return self._graphs.train(block)

    def _update(self, start: int, stop: int) -> Update:
        """Return what updates the seeds from start to before stop on a batch."""
        return make_update(self.setting, self.engine, self._stack(start, stop))

    def _stack(self, start: int = 0, stop: int | None = None) -> Stack:
        """Return the seeds from start to before stop, as views."""
        stop = len(self.alive) if stop is None else stop
        network, memory = self.network.part(start, stop), self.memory.part(start, stop)
        return Stack(self.alive[start:stop], self.task, network, memory)

    def _permute_inputs(self, tasks: dict[int, Task], inverse: bool) -> Tensor | None:
        """Put the first layer into the pixels' own order, or (not inverse) back.

        Returns:
            What the input axis was permuted by; None: it was not.
        """
        inputs = self._orders([tasks[seed] for seed in self.alive], inverse)
        if inputs is not None:
            self.network.take_inputs(inputs)
            self.memory.take_inputs(inputs)
        return inputs

    def _orders(self, tasks: list[Task], inverse: bool) -> Tensor | None:
        """Return what puts the input axes into the pixels' order, or back; or None."""
        pixels = [task.pixels for task in tasks]
        orders = [np.argsort(p) if inverse else p for p in pixels if p is not None]
        if not orders:
            return None
        return torch.from_numpy(np.stack(orders)).to(self.device)

    def _drop(self, seeds: list[int]) -> None:
        """Take seeds that diverged out of the stack."""
        if seeds:
            self._take([i for i, s in enumerate(self.alive) if s not in seeds])

    def _take(self, places: list[int]) -> None:
        """Make the stack of what stands at these places of it."""
        same = len(places) == len(self.alive)
        self.alive = [self.alive[place] for place in places]
        if same:  # captured steps need the networks where they are
            self.network.reorder(places)
            self.memory.reorder(places)
        else:
            self.network = self.network.take(places)
            self.memory = self.memory.take(places)
            self._graphs = None

    def _record(
        self, seed: int, task: Task, measured: Record | None, lost: bool, share: float
    ) -> Record:
        """Return the row of one seed; `measured` is None if it had diverged before."""
        dead = measured is None or lost
        values = dict.fromkeys(MEASURED) if dead or measured is None else measured
        name = "cpu"
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        return {
            "setting_id": self.setting.setting_id,
            "run_id": self.setting.run_id(seed),
            "seed": seed,
            **self.setting.row(),
            "task": self.task,
            "task_label": task.label,
            **{name: told(values.get(name)) for name in MEASURED},
            "diverged": dead,
            "steps": 0 if measured is None else measured["steps"],
            "seconds": 0.0 if measured is None else share,
            "device": name,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all that going on needs, as plain values and tensors on the CPU.

        `torch.load(..., weights_only=True)` reads it back.
        """
        return {
            "setting": self.setting.row(),
            "seeds": self.seeds,
            "task": self.task,
            "alive": self.alive,
            "network": [t.cpu().clone() for t in self.network.tensors()],
            "memory": {n: t.cpu().clone() for n, t in self.memory.named().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, to the last bit as if there had been no stop.

        Raises:
            UsageError: The state is of another setting or of other seeds.
            ValueError: What the seeds remember is not the setting's.
        """
        for name, mine in (("setting", self.setting.row()), ("seeds", self.seeds)):
            if state[name] != mine:
                raise UsageError(f"the state's {name} is {state[name]}, not {mine}")
        self.task, self.alive = state["task"], list(state["alive"])
        self.network = self.network.like(
            [t.to(self.device, self.dtype, copy=True) for t in state["network"]]
        )
        self.memory = initial_memory(self.setting, self.network)
        self.memory.load(state["memory"])
        self._graphs = None
