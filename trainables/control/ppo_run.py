"""A run of control with PPO: actors and critics learn one level after another.

A level is a task of the stream. A run does this:

    for each level:
        let the intervention change the networks (not before the first level)
        for each iteration:
            play episodes, during which the weights do not change
            in the first iteration: measure the policy's entropy
            in the first iteration of some levels: measure the critic's sharpness
            for each epoch and batch: update actor and critic
        run the probes on the steps of the last iteration
        make one record per seed

`Setting.epochs` is the number of passes over the steps of an iteration, and
`Setting.batch_size` is the number of steps in the batch of an update. Each iteration
has new episodes and its own random generators. So only the networks and their memory go
from one iteration to the next.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trainables.control.levels import LevelsRun, Tally
from trainables.control.play import Steps, World, play
from trainables.control.ppo import advantages_and_targets, critic_loss, ppo_gradient
from trainables.networks.actor_critic import actor, critic
from trainables.networks.network import dense_forward, forward
from trainables.randomness import generator
from trainables.steps import native

REWARD_SCALE = 20.0
"""The learner gets the rewards divided by this number (C-CHAIN, `reward_scale`)."""


class PPORun(LevelsRun):
    """A run of levels: actors and critics learn with PPO."""

    def _train_on_task(self) -> tuple[dict[str, Tensor], Tensor, int]:
        """Play and learn on the next level: see `ControlRun`."""
        setting, problem = self.setting, self.problem
        tallies = []
        measures: dict[str, Tensor] = {}
        for iteration in range(problem.level_iterations):
            self._start_phase("playing")
            steps = self._play(iteration)
            inputs, targets, tally = self._examples(steps)
            tallies.append(tally)
            if iteration == 0:
                measures["start_policy_entropy"] = self._entropy(inputs)
            if iteration == 0 and self._with_landscape:
                self._start_phase("landscape")
                measures["start_critic_sharpness"] = self._sharpness(
                    critic(self.stack.network), inputs, targets, critic_loss
                )
            self._start_phase("training")
            self._learn_from(inputs, targets, iteration)
        measures |= self._returns(tallies)
        batches = math.ceil(problem.iteration_steps / setting.batch_size)
        updates = problem.level_iterations * setting.epochs * batches
        return measures, inputs, updates

    def _learn_from(self, inputs: Tensor, targets: Tensor, iteration: int) -> None:
        """Make the updates of an iteration, whose targets are as in `ppo_loss`."""
        epochs, size = self.setting.epochs, self.setting.batch_size
        numbers = range(iteration * epochs, (iteration + 1) * epochs)
        if self.engine != "native":
            update = self._make_update(ppo_gradient)
            for number in numbers:
                self._train(update, *self._shuffle(inputs, targets, number))
            return
        orders = [self._orders(inputs.shape[1], number) for number in numbers]
        for positions in batches_of(orders, size):
            native.train_on_steps(self.setting, self.stack, inputs, targets, positions)

    def _play(self, iteration: int) -> Steps:
        """Play the episodes of an iteration, with the seeds' own random numbers."""
        policy = actor(self.stack.network)

        def logits(observations: np.ndarray) -> np.ndarray:
            inputs = torch.from_numpy(observations).to(self.device, self.dtype)
            return dense_forward(policy, inputs)[1].cpu().numpy()

        seeds = self.alive
        randoms = [generator("play", s, self.task, iteration) for s in seeds]
        world, problem = World.of(self.problem, seeds, self.task), self.problem
        iteration_steps, longest = problem.iteration_steps, problem.episode_steps
        return play(logits, world, randoms, iteration_steps, longest)

    def _entropy(self, inputs: Tensor) -> Tensor:
        """Return the mean entropy of each seed's policy, in nats; float64, (S,)."""
        logits = dense_forward(actor(self.stack.network), inputs)[1]
        logs = logits.double().log_softmax(-1)
        return -(logs.exp() * logs).sum(-1).mean(-1)

    def _examples(self, steps: Steps) -> tuple[Tensor, Tensor, Tally]:
        """Return the inputs and targets of the updates, and the sums of the episodes.

        The inputs have the shape (S, n, pixels), and the targets have the shape
        (S, n, 4): see `ppo_loss`.
        """
        inputs, following = (
            torch.from_numpy(array).to(self.device, self.dtype)
            for array in (steps.observations, steps.following)
        )
        outputs = forward(self.stack.network, inputs)[1]
        after = dense_forward(critic(self.stack.network), following)[1]
        actions = torch.from_numpy(steps.actions).to(self.device)
        logs = outputs[..., :-1].log_softmax(-1)
        before = logs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        problem = self.problem
        goals = problem.goals(self.alive, self.task)
        rewards = problem.pay(steps.states, steps.ended, goals)
        learned = problem.factor(self.task) * rewards / REWARD_SCALE
        values, values_after = (
            x[..., -1].double().cpu().numpy() for x in (outputs, after)
        )
        advantages, returns = advantages_and_targets(
            learned, values, values_after, steps.ended, steps.last
        )
        columns = [
            actions,
            torch.from_numpy(advantages),
            before,
            torch.from_numpy(returns),
        ]
        targets = torch.stack([c.to(self.device, self.dtype) for c in columns], dim=-1)
        losses = problem.lose(steps.before, steps.states, goals)
        tally = Tally.of(rewards, losses, steps.last.sum(axis=1))
        return inputs, targets, tally


def batches_of(orders: list[Tensor], size: int) -> list[Tensor]:
    """Return the positions in the batches of some epochs, in the order of the updates.

    All batches of a tensor have the same size, so if the last batch of an epoch is
    smaller, it has a tensor of its own.

    Args:
        orders: The order of the steps in each epoch, of shape (S, n).
        size: The size of the batches.

    Returns:
        Tensors of shape (S, updates, batch).

    >>> [t.tolist() for t in batches_of([torch.tensor([[2, 0, 1]])], 2)]
    [[[[2, 0]]], [[[1]]]]
    """
    seeds, count = orders[0].shape
    rest = count % size
    if not rest:
        return [torch.cat(orders, dim=1).reshape(seeds, -1, size)]
    parts = []
    for order in orders:
        parts.append(order[:, : count - rest].reshape(seeds, -1, size))
        parts.append(order[:, count - rest :].unsqueeze(1))
    return [part for part in parts if part.shape[1]]
