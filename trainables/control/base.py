"""The base class of runs of control, which learn from steps and read no images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables import measuring
from trainables.interventions import Update
from trainables.networks import ActorCritic, Architecture
from trainables.networks.network import Network, forward
from trainables.probes import EXAMPLES, PROBES, Snapshot
from trainables.probes.curvature import STEPS, TOLERANCE
from trainables.probes.lanczos import Lanczos, largest_eigenvalue
from trainables.probes.landscape import Hessian
from trainables.problems import Task
from trainables.randomness import generator
from trainables.record import Record
from trainables.run import ContinualRun, TaskGenerator
from trainables.steps.process import flushed_denormals
from trainables.steps.reference import GradientOf, Loss
from trainables.steps.update import begin_task, make_update


class ControlRun(ContinualRun):
    """Base class: a run of one setting of a problem of control with several seeds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Do what `ContinualRun` does with the same arguments."""
        super().__init__(*args, **options)
        if type(self._kind) is not ActorCritic:
            # the loss is not in C: use autograd, or `gradients.backward`
            self.engine = "reference"

    @property
    def _kind(self) -> Architecture | None:
        network = self.setting.architecture
        return network if isinstance(network, ActorCritic) else None

    def _read_images(self) -> None:
        """Read nothing: there are no images."""

    def _is_finite(self, measures: Record) -> bool:
        return bool(measures["finite"] == 1)

    def _learn(self, tasks: dict[int, Task]) -> TaskGenerator[dict[int, Record]]:
        """Learn the next task and probe; return the measures of each seed."""
        yield from ()  # there are no examples on which a caller could train
        return self._learn_level()

    @flushed_denormals()
    @np.errstate(invalid="ignore", over="ignore")  # of a network that diverges
    def _learn_level(self) -> dict[int, Record]:
        stack = self.stack
        self._start_phase("training")
        begin_task(self.setting, stack)
        before = stack.network.map(torch.clone)
        initial = self._initial.take([self.seeds.index(s) for s in stack.seeds])
        measures, inputs, updates = self._train_on_task()
        self._start_phase("probes")
        measures |= self._probe(inputs, initial, before)
        self._start_phase("")
        rows = zip(self.alive, measuring.by_seed(measures), strict=True)
        return {seed: row | {"steps": updates} for seed, row in rows}

    def _train_on_task(self) -> tuple[dict[str, Tensor], Tensor, int]:
        """Train on the next task; return measures, inputs and the number of updates.

        Each measure has the shape (S,). The inputs are those for the probes, of shape
        (S, n, numbers).
        """
        raise NotImplementedError

    def _make_update(self, gradient_of: GradientOf) -> Update:
        """Return the update with the gradient of the learner's loss."""
        return make_update(self.setting, self.engine, self.stack, gradient_of)

    def _shuffle(
        self, inputs: Tensor, targets: Tensor, number: int
    ) -> tuple[Tensor, Tensor]:
        """Return each seed's inputs and targets in a new order: (S, n, numbers) each.

        `number` counts the passes over steps in the task, from 0.
        """
        orders = self._orders(inputs.shape[1], number).to(self.device).unsqueeze(-1)
        x, y = (t.gather(1, orders.expand_as(t)) for t in (inputs, targets))
        return x, y

    def _orders(self, count: int, number: int) -> Tensor:
        """Return the new order of each seed's `count` steps, of shape (S, count)."""
        draws = [
            generator("order", seed, self.task, number).permutation(count)
            for seed in self.alive
        ]
        return torch.from_numpy(np.stack(draws))

    def _train(self, update: Update, inputs: Tensor, targets: Tensor) -> None:
        """Update the networks on each batch of the examples, in the order given."""
        size = self.setting.batch_size
        batches = (torch.split(tensor, size, dim=1) for tensor in (inputs, targets))
        for batch in zip(*batches, strict=True):
            update(*batch)

    def _sharpness(
        self, network: Network, inputs: Tensor, targets: Tensor, loss: Loss
    ) -> Tensor:
        """Return the largest eigenvalue of the Hessian of each seed's mean loss: (S,).

        `network` has the networks of the seeds in `alive`, or a part of each of these
        networks (for example the critic).
        """
        sharpness = []
        for i, seed in enumerate(self.alive):  # one seed fits in the cache
            part = slice(i, i + 1)
            x, y = (tensor[part, :EXAMPLES] for tensor in (inputs, targets))
            hessian = Hessian(network.part(i, i + 1), x, y, loss)
            random = generator("lanczos", seed, self.task)
            start = torch.from_numpy(random.standard_normal((1, hessian.size))).to(x)
            lanczos = Lanczos(hessian.product, start)
            sharpness.append(largest_eigenvalue(lanczos, TOLERANCE[self.dtype], STEPS))
        return torch.cat(sharpness)

    def _probe(
        self, inputs: Tensor, initial: Network, before: Network
    ) -> dict[str, Tensor]:
        """Run the probes on the first `EXAMPLES` of the inputs.

        `initial` has the networks before the first task, and `before` the networks
        before this task.
        """
        network = self.stack.network
        hidden, _ = forward(network, inputs[:, :EXAMPLES])
        no_gradient = network.zeros_like()
        snapshot = Snapshot(network, hidden[1:], no_gradient, initial, before)
        # the probe gradient_norm needs a cross-entropy, which control does not have
        probes = {name: p for name, p in PROBES.items() if name != "gradient_norm"}
        measures = {name: probe(snapshot) for name, probe in probes.items()}
        return measures | {"finite": measuring.finite(network)}
