"""TD(0): learn the values of a random walk from the network's own estimates.

At each update, the network moves its estimate V(s) towards the target
r + discount V(s'). The target is computed at the weights before the update, and then
counts as a constant (a semi-gradient, Sutton & Barto 2018, section 11.1). Both
gradients of SAM are those of the loss (V(s) - target)^2 / 2 with this target.

A task has `TD.td_steps` steps of the walk. The network learns from them in
`Setting.epochs` passes, each in a new random order.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import torch
from torch import Tensor

from trainables.control.base import ControlRun
from trainables.control.gradients import chain_gradient
from trainables.networks.network import forward
from trainables.problems import TD
from trainables.problems.control.td import SIDE, neighbors, observations
from trainables.randomness import generator

PARTS = 10
"""The error is measured after each of this many equal parts of a task."""


def squared_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (V - target)^2 / 2 for values (S, n, 1) and targets (S, n)."""
    return (outputs.squeeze(-1) - targets).square() / 2


def value_derivative(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the derivative of `squared_loss` with respect to the values, (S, n, 1)."""
    return outputs - targets.unsqueeze(-1)


value_gradient = functools.partial(
    chain_gradient, loss=squared_loss, derivative=value_derivative
)
"""Return the gradient of each seed's mean `squared_loss`, and the values."""


class TDRun(ControlRun):
    """A run of the problem `td` with several seeds."""

    @property
    def problem(self) -> TD:
        """The problem of the setting."""
        assert isinstance(self.setting.problem, TD)
        return self.setting.problem

    def _train_on_task(self) -> tuple[dict[str, Tensor], Tensor, int]:
        """Learn the values of the next task: see `ControlRun`."""
        setting, problem = self.setting, self.problem
        update = self._make_update(value_gradient)
        seen = torch.from_numpy(observations()).to(self.device, self.dtype)
        places, after, rewards = self._walk()
        inputs, following = seen[places], seen[after]
        measures: dict[str, Tensor] = {}
        if self._with_landscape:
            self._start_phase("landscape")
            targets = self._targets(rewards, following)
            measures["start_critic_sharpness"] = self._sharpness(
                self.stack.network, inputs, targets, squared_loss
            )
        self._start_phase("training")

        def bootstrap(x: Tensor, y: Tensor) -> Tensor:
            return update(x, self._targets(y[..., 0], y[..., 1:]))

        # from rewards and next observations, each update computes its own targets
        pairs = torch.cat([rewards.unsqueeze(-1), following], dim=-1)
        values = [problem.values(seed, self.task) for seed in self.alive]
        true, errors = torch.from_numpy(np.stack(values)), []
        for epoch in range(setting.epochs):
            bounds = np.linspace(0, problem.td_steps, PARTS + 1).round().astype(int)
            x, y = self._shuffle(inputs, pairs, epoch)
            for start, stop in itertools.pairwise(bounds.tolist()):
                self._train(bootstrap, x[:, start:stop], y[:, start:stop])
                errors.append(self._error(seen, true))
        measures["value_error"] = errors[-1]
        measures["mean_value_error"] = torch.stack(errors).mean(0)
        sizes = np.diff(bounds)
        updates = sum(math.ceil(size / setting.batch_size) for size in sizes)
        return measures, inputs, setting.epochs * updates

    def _walk(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the places, the next places and the rewards, each of shape (S, n)."""
        nearby, walks = neighbors(), []
        for seed in self.alive:
            random = generator("walk", seed, self.task)
            place, path = int(random.integers(SIDE**2)), []
            for move in random.integers(4, size=self.problem.td_steps):
                path.append(place)
                place = int(nearby[place, move])
            earned = self.problem.rewards(seed, self.task)[path]
            walks.append((path, [*path[1:], place], earned))
        columns = (np.array(each) for each in zip(*walks, strict=True))
        places, after, rewards = (torch.from_numpy(c).to(self.device) for c in columns)
        return places, after, rewards.to(self.dtype)

    def _targets(self, rewards: Tensor, following: Tensor) -> Tensor:
        """Return r + discount V(s') at the current weights, of shape (S, n)."""
        _, values = forward(self.stack.network, following)
        return rewards + self.problem.discount * values.squeeze(-1)

    def _error(self, seen: Tensor, true: Tensor) -> Tensor:
        """Return each seed's relative error over all places: shape (S,), float64.

        `seen` has the observation of each place, and `true` has each seed's true
        values, of shape (S, places).
        """
        _, outputs = forward(self.stack.network, seen.expand(len(true), -1, -1))
        error = outputs.squeeze(-1).double().cpu() - true
        return error.square().mean(1).sqrt() / true.square().mean(1).sqrt()
