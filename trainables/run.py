"""A continual run: networks learn one task after another, without a reset in between.

The networks of several seeds are trained together (a stack). A run does this:

    for each task:
        let the intervention change the networks (not before the first task)
        measure the loss landscape, but only for some tasks (`landscape_every`)
        for each batch:
            predict the labels, which gives the online accuracy and the training loss
            update the networks
        test on the task's test examples and run the probes
        measure the loss landscape again, for the same tasks
        make one record per seed

An intervention is a method against loss of plasticity, for example a reset. A setting
can have one intervention or none. A run reads and writes no files: its caller gets the
records and decides what to do with them.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from trainables import measuring
from trainables.data import Dataset
from trainables.data.examples import (
    Examples,
    Reader,
    draw,
    select,
    to_tensor,
)
from trainables.data.rotation import rotated
from trainables.hyperparameter import check_whole
from trainables.measuring import measure_landscape, measure_network
from trainables.networks import Architecture
from trainables.networks.network import Network, initial_network
from trainables.networks.stack import Memory, Stack, in_pixel_order
from trainables.probes import LANDSCAPE, START
from trainables.problems import Task
from trainables.problems.task import check_tasks
from trainables.randomness import SEEDS
from trainables.record import Record
from trainables.setting import RunOptions, Setting
from trainables.steps import convolved, fast, native
from trainables.steps.engine import choose_engine
from trainables.steps.process import flushed_denormals, keep_freed_memory
from trainables.steps.reference import Passes, both_passes
from trainables.steps.trainer import Trainer
from trainables.steps.update import begin_task, initial_memory
from trainables.usage import UsageError

Test = Callable[[Network, list[Examples], Reader], dict[str, Tensor]]
"""The type of `native.test` and `measuring.measure_tests`."""

CONVERTED_PIXELS = 2**29
"""The most pixels that a GPU keeps as floating-point numbers (2 GiB in float32)."""

Result = TypeVar("Result")
TaskGenerator = Generator[list[Examples], dict[str, Tensor], Result]
"""Yields the training examples of each seed, and gets the result of training on them.

It yields nothing if all seeds have diverged.
"""


class Lesson:
    """One task of a run, whose networks the caller trains.

    Attributes:
        examples: The training examples of each seed in `ContinualRun.alive`, or [] if
            all seeds have diverged.
    """

    def __init__(self, generator: TaskGenerator[list[Record]]) -> None:
        """Do everything before the training."""
        self._generator, self._records = generator, list[Record]()
        self.examples: list[Examples] = []
        try:
            self.examples = next(generator)
        except StopIteration as end:
            self._records = end.value

    def finish(self, measures: dict[str, Tensor]) -> list[Record]:
        """Do everything after the training; return one record per seed.

        `measures` is the result of `ContinualRun.train`.
        """
        try:
            if self.examples:
                self._generator.send(measures)
        except StopIteration as end:
            self._records = end.value
        return self._records

    def close(self) -> None:
        """End the task early, so that the networks have their usual pixel order."""
        self._generator.close()


class ContinualRun:
    """A run of one setting with several seeds, which are trained together.

    Attributes:
        task: The number of finished tasks.
        stack: The seeds that have not diverged, with their networks and memory.
        engine: The code that trains the networks: "reference", "torch" or "native".
        phases: The seconds spent so far in each phase: permuting, training, testing,
            probes and landscape. On a GPU, this is the time to launch the kernels.

    Raises:
        UsageError: No seed is given, a seed is invalid or repeated, or `dataset` is not
            the dataset of the setting.
    """

    @flushed_denormals()  # torch starts its threads here, and they inherit this mode
    def __init__(
        self,
        setting: Setting,
        seeds: Sequence[int],
        dataset: Dataset,
        device: torch.device | str = "cpu",
        *,
        options: RunOptions = RunOptions(),  # noqa: B008 - it is frozen
        dtype: torch.dtype = torch.float32,
        engine: str | None = None,
    ) -> None:
        """Check the arguments and draw the initial networks.

        Args:
            setting: Everything that determines the run except its seeds.
            seeds: Distinct seeds, each in [0, 2**32).
            dataset: The dataset that the setting names.
            device: The device of the networks and the images.
            options: Options that do not change the results of training.
            dtype: The dtype of the networks. Tests use float64.
            engine: The name of the engine, or None to let `choose_engine` choose it.
        """
        if not seeds or len(set(seeds)) < len(seeds):
            raise UsageError(
                f"seeds are {list(seeds)}: give at least one seed, and no seed twice"
            )
        for seed in seeds:
            check_whole("seed", seed, 0, SEEDS - 1)
        if (own := setting.dataset) != dataset.name:
            raise UsageError(
                f"the dataset is {dataset.name}, but the setting has {own}: load {own}"
            )
        keep_freed_memory()
        # on a GPU, make torch's convolutions deterministic and do not round to TF32
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        self.setting, self.seeds, self.dataset = setting, list(seeds), dataset
        self.options, self.device, self.dtype = options, torch.device(device), dtype
        self._read_images()
        network = initial_network(
            [setting.form.pixels, *setting.hidden, setting.outputs],
            self.seeds,
            device,
            dtype,
            normalized=bool(setting.intervention and setting.intervention.normalizes),
            initialization=setting.initialization,
            activation=setting.activation,
            kind=self._kind,
            form=setting.form,
        )
        self._initial = network.map(torch.clone)  # in the order of `self.seeds`
        self.task = 0
        self.stack = Stack(list(seeds), 0, network, initial_memory(setting, network))
        self.engine = choose_engine(setting, network, engine)
        is_in_c = self.engine == "native" and setting.network is None
        self._test: Test = native.test if is_in_c else measuring.measure_tests
        self._passes: Passes = both_passes
        if self.engine != "reference" and network.is_relu_mlp:
            self._passes = fast.both_passes
        if self.engine == "native" and not is_in_c:
            logits_of = convolved.forward_logits
            self._test = functools.partial(measuring.measure_tests, logits_of=logits_of)
            self._passes = convolved.both_passes
        self.phases: dict[str, float] = collections.defaultdict(float)
        self._phase, self._phase_start = "", 0.0

    @functools.cached_property
    def trainer(self) -> Trainer:
        """The trainer of the networks, which is made after `share_images`."""
        return Trainer(self.setting, self.engine, self._train_images)

    @property
    def _kind(self) -> Architecture | None:
        """The architecture of the networks, or None for a multilayer perceptron."""
        return self.setting.network

    def _read_images(self) -> None:
        """Copy the images to the device, and make their readers."""
        dataset, setting, device = self.dataset, self.setting, self.device
        scales: list[Any] = []
        if setting.normalization:  # (pixel / 255 - mean) / std
            mean, std = dataset.moments
            scales = [
                torch.tensor(array, dtype=self.dtype, device=device)
                for array in (1 / (255 * std), -mean / std)
            ]
        readers = []
        for images in (dataset.train_images, dataset.test_images):
            pixels = to_tensor(images, device)
            reader = Reader(pixels, self.dtype, setting.input_low, *scales)
            # a GPU saves two kernels in each step, and has the memory
            if device.type == "cuda" and images.size <= CONVERTED_PIXELS:
                reader = reader.converted()
            readers.append(reader)
        self._train_images, self._test_images = readers

    def share_images(self, other: ContinualRun) -> None:
        """Read the images with the readers of another run, whose inputs are the same.

        The two runs must read one after the other.
        """
        self._train_images = other._train_images
        self._test_images = other._test_images

    @property
    def runs(self) -> list[ContinualRun]:
        """This run: `trainables.joint.JointRun` has several runs."""
        return [self]

    @property
    def alive(self) -> list[int]:
        """The seeds that have not diverged, in the order of `stack`."""
        return self.stack.seeds

    @property
    def network(self) -> Network:
        """The networks of the seeds that have not diverged."""
        return self.stack.network

    @property
    def finished(self) -> bool:
        """Whether all tasks of the stream are finished."""
        return self.task >= self.setting.tasks

    def next_task(self) -> list[Record]:
        """Train on the next task; return one record per seed, in the order of `seeds`.

        Raises:
            StopIteration: All tasks of the stream are finished.
        """
        if self.finished:
            raise StopIteration(f"all {self.setting.tasks} tasks are finished")
        with contextlib.closing(self.lesson()) as lesson:
            examples = lesson.examples
            return lesson.finish(self.train(examples) if examples else {})

    def lesson(self) -> Lesson:
        """Begin the next task, so that the caller can train the networks."""
        return Lesson(self._run_task())

    @torch.no_grad()
    def _run_task(self) -> TaskGenerator[list[Record]]:
        started = time.perf_counter()
        self.stack.task = self.task
        tasks = {s: self._stream(s, self.task) for s in self.seeds}
        measures = (yield from self._learn(tasks)) if self.alive else {}
        finite = [s for s in self.alive if self._is_finite(measures[s])]
        if len(finite) < len(self.alive):
            self.stack = self.stack.take([self.alive.index(s) for s in finite])
        seconds = (time.perf_counter() - started) / max(1, len(measures))
        records = [
            self._record(s, tasks[s], measures.get(s), seconds) for s in self.seeds
        ]
        self.task += 1
        return records

    def _is_finite(self, measures: Record) -> bool:
        """Return whether a seed with these measures goes on to the next task."""
        return measuring.is_finite(measures)

    def _learn(self, tasks: dict[int, Task]) -> TaskGenerator[dict[int, Record]]:
        """Train on `tasks`, test and probe; return the measures of each seed."""
        check_tasks(self.setting.problem, list(tasks.values()), self.setting.form)
        examples = self._sort_stack(tasks)
        stack, setting, images = self.stack, self.setting, self._train_images
        ordered_tasks = [tasks[seed] for seed in stack.seeds]
        measures: dict[str, Tensor] = {}
        if setting.problem.grows:
            stack.network.outputs = len(ordered_tasks[0].classes)
        self._start_phase("training")
        begin_task(setting, stack)
        self._start_phase("permuting")
        self._turn_images(ordered_tasks[0].angle)
        initial = self._initial.take([self.seeds.index(s) for s in stack.seeds])
        with self._in_pixel_order(ordered_tasks, stack.network, stack.memory, initial):
            before = stack.network.map(torch.clone)
            self._start_phase("probes")
            batch = measuring.draw_probe_batch(
                stack, ordered_tasks, examples, self.dataset.train_labels
            )
            if self._with_landscape:
                self._start_phase("landscape")
                measures |= measure_landscape(START, stack.network, batch, images)
            self._start_phase("training")
            measures |= yield examples
            # another run, which has the same readers, can have turned the images
            self._turn_images(ordered_tasks[0].angle)
            self._start_phase("testing")
            measures |= self._test_on(ordered_tasks, self.task)
            self._start_phase("probes")
            measures |= measure_network(
                stack.network, batch, images, initial, before, self._passes
            )
            if self._with_landscape:
                self._start_phase("landscape")
                measures |= measure_landscape(LANDSCAPE, stack.network, batch, images)
            self._start_phase("permuting")
        self._start_phase("testing")
        measures |= self._test_on_previous_tasks()
        self._start_phase("")
        rows = zip(stack.seeds, measuring.by_seed(measures), examples, strict=True)
        epochs, size = setting.epochs, setting.batch_size
        return {
            s: row | {"steps": epochs * -(-len(e[0]) // size)} for s, row, e in rows
        }

    @property
    def _with_landscape(self) -> bool:
        """Whether to measure the loss landscape on this task."""
        every = self.options.landscape_every
        is_last = self.task == self.setting.tasks - 1
        # only task numbers decide, so that a resumed run measures the same tasks
        return every > 0 and (self.task % every == 0 or is_last)

    def _sort_stack(self, tasks: dict[int, Task]) -> list[Examples]:
        """Sort the seeds by task size, largest first; return each seed's examples.

        `trainables.data.examples` explains why the seeds are sorted.
        """
        examples = [self._draw(s, tasks[s], self.task) for s in self.alive]
        order = sorted(range(len(examples)), key=lambda i: -len(examples[i].labels))
        if order != list(range(len(order))):
            # reorder in place: captured CUDA graphs read and write these tensors
            self.stack.reorder(order)
        return [examples[i] for i in order]

    def _stream(self, seed: int, index: int) -> Task:
        """Return task number `index` of the seed's stream."""
        return self.setting.problem.task(seed, index, self.setting.form)

    def _turn_images(self, angle: float) -> None:
        """Replace all images by the dataset's images, turned by `angle` degrees."""
        if angle == self._train_images.angle:
            return
        dataset, form = self.dataset, self.setting.form
        for reader, images in (
            (self._train_images, dataset.train_images),
            (self._test_images, dataset.test_images),
        ):
            reader.replace_images(to_tensor(rotated(images, form, angle), self.device))
            reader.angle = angle

    def _draw(self, seed: int, task: Task, index: int) -> Examples:
        """Return the training examples of task number `index` of the seed's stream."""
        labels, count = self.dataset.train_labels, self.setting.examples
        return draw(task, labels, count, seed, index)

    def _test_on(self, tasks: list[Task], index: int) -> dict[str, Tensor]:
        """Test the network of each seed on task number `index` of that seed.

        If the task shuffles the labels, only its training examples have correct labels,
        so the test uses them. Returns test_loss and test_accuracy, each of shape (S,).
        """
        tests = [select(task, self.dataset.test_labels) for task in tasks]
        images = self._test_images
        if tasks[0].shuffled:
            pairs = zip(self.alive, tasks, strict=True)
            tests = [self._draw(seed, task, index) for seed, task in pairs]
            images = self._train_images
        return self._test(self.stack.network, tests, images)

    def _test_on_previous_tasks(self) -> dict[str, Tensor]:
        """Test the network of each seed on the last `options.look_back` tasks again.

        Returns backward_accuracy, of shape (S, tasks), with the latest task first.
        Returns {} if there is no previous task to test on.
        """
        accuracies = []
        for back in range(1, 1 + min(self.options.look_back, self.task)):
            index = self.task - back
            tasks = [self._stream(s, index) for s in self.alive]
            self._turn_images(tasks[0].angle)
            with self._in_pixel_order(tasks, self.stack.network):
                accuracies.append(self._test_on(tasks, index)["test_accuracy"])
        if not accuracies:
            return {}
        return {"backward_accuracy": torch.stack(accuracies, dim=1)}

    @contextlib.contextmanager
    def _in_pixel_order(
        self, tasks: list[Task], *parts: Network | Memory
    ) -> Iterator[None]:
        """Let input j of each seed's network be pixel `pixels[j]` of its task.

        If the first layer is dense, permute its inputs in `parts`, which is cheap: see
        `trainables.networks.stack.in_pixel_order`. Otherwise, permute the images when
        they are read.
        """
        if self.setting.network is None:
            with in_pixel_order(tasks, *parts):
                yield
            return
        pixels = [task.pixels for task in tasks if task.pixels is not None]
        readers = self._train_images, self._test_images
        for reader in readers if pixels else ():
            reader.orders = torch.from_numpy(np.stack(pixels)).to(self.device)
        try:
            yield
        finally:
            for reader in readers:
                reader.orders = None

    def _start_phase(self, phase: str) -> None:
        """Add the time of the current phase to `phases`, and start the next phase."""
        now = time.perf_counter()
        if self._phase:
            self.phases[self._phase] += now - self._phase_start
        self._phase, self._phase_start = phase, now

    def train(self, examples: list[Examples]) -> dict[str, Tensor]:
        """Train the network of each seed on that seed's examples, for all epochs.

        `examples` has one item for each seed of `stack`: see `Trainer.train`.
        """
        return self.trainer.train(self.stack, examples)

    def _record(
        self, seed: int, task: Task, measures: Record | None, seconds: float
    ) -> Record:
        """Return a record. `measures` is None if the seed diverged on a task before."""
        diverged = seed not in self.alive
        on_gpu = self.device.type == "cuda"
        return {
            "setting_id": self.setting.setting_id,
            "run_id": self.setting.run_id(seed),
            "seed": seed,
            **self.setting.row(),
            "task": self.task,
            "task_label": task.label,
            **measuring.measure_values({} if diverged else measures or {}),
            "diverged": diverged,
            "steps": measures["steps"] if measures else 0,
            "seconds": seconds if measures else 0.0,
            "device": torch.cuda.get_device_name(self.device) if on_gpu else "cpu",
            "engine": self.engine,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which the run can resume.

        It has only plain values and tensors on the CPU, so that
        `torch.load(..., weights_only=True)` can read it.
        """
        memory = self.stack.memory.named()
        return {
            "setting": self.setting.row(),
            "seeds": self.seeds,
            "task": self.task,
            "alive": self.alive,
            "network": [t.cpu().clone() for t in self.stack.network.tensors()],
            "statistics": [t.cpu().clone() for t in self.stack.network.statistics],
            "memory": {name: t.cpu().clone() for name, t in memory.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state that `state_dict` returned, to resume the run from there.

        A resumed run gives bit-identical results to an uninterrupted run.

        Raises:
            UsageError: The state belongs to another setting or to other seeds.
            ValueError: The memory of the optimizer, the base or the intervention in the
                state does not fit the setting.
        """
        # older versions had fewer hyperparameters: a missing one counts as null
        own = {**self.setting.row(), "seeds": self.seeds}
        saved = {**state["setting"], "seeds": state["seeds"]}
        for name in {**own, **saved}:
            if saved.get(name) != own.get(name):
                raise UsageError(
                    f"the saved state has {name} {saved.get(name)}, "
                    f"but this run has {name} {own.get(name)}"
                )
        network = self.stack.network.like(
            [t.to(self.device, self.dtype, copy=True) for t in state["network"]]
        )
        network.statistics = [
            t.to(self.device, self.dtype, copy=True)
            for t in state.get("statistics", [])  # older versions had none
        ]
        memory = initial_memory(self.setting, network)
        memory.load(state["memory"])
        self.task = state["task"]
        self.stack = Stack(list(state["alive"]), self.task, network, memory)
