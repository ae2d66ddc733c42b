"""A run of control: actors and critics learn level after level and are never reset.

A level is a task of the stream. A run does this:

    for each level:
        let the intervention change the networks (not before the first level)
        for each iteration:
            play episodes with the weights as they are
            measure the sharpness of the critic's loss, once, for some levels
            for each epoch and batch: update actor and critic
        run the probes on the steps of the last iteration
        make one record per seed

`Setting.epochs` is the number of passes over the steps of an iteration, and
`Setting.batch_size` the number of steps in an update. An iteration begins with new
episodes and its own random generators, so that nothing but the networks and their
memory goes from one iteration to the next.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trainables.control.base import ControlRun
from trainables.control.play import Steps, play
from trainables.control.ppo import advantages_and_targets, critic_loss, ppo_gradient
from trainables.networks.actor_critic import actor, critic
from trainables.networks.network import dense_forward, forward
from trainables.problems import CartPole
from trainables.randomness import generator

LONGEST = 400
"""The number of steps after which an episode is cut (C-CHAIN, `max_timesteps`)."""

REWARD_SCALE = 20.0
"""The learner gets the rewards divided by this number (C-CHAIN, `reward_scale`)."""


class PPORun(ControlRun):
    """A run of CartPole: actors and critics learn with PPO."""

    @property
    def problem(self) -> CartPole:
        """The problem of the setting."""
        assert isinstance(self.setting.problem, CartPole)
        return self.setting.problem

    def _train_on_task(self) -> tuple[dict[str, Tensor], Tensor, int]:
        """Play and learn on the next level: see `ControlRun`."""
        setting, problem = self.setting, self.problem
        update = self._make_update(ppo_gradient)
        returns, counts = [], []
        measures: dict[str, Tensor] = {}
        for iteration in range(problem.level_iterations):
            self._start_phase("playing")
            steps = self._play(iteration)
            inputs, targets, own_returns, own_counts = self._examples(steps)
            returns.append(own_returns)
            counts.append(own_counts)
            if iteration == 0 and self._with_landscape:
                self._start_phase("landscape")
                measures["start_critic_sharpness"] = self._sharpness(
                    critic(self.stack.network), inputs, targets, critic_loss
                )
            self._start_phase("training")
            for epoch in range(setting.epochs):
                number = iteration * setting.epochs + epoch
                self._train(update, *self._shuffle(inputs, targets, number))
        measures |= self._returns(np.stack(returns, axis=1), np.stack(counts, axis=1))
        batches = math.ceil(problem.iteration_steps / setting.batch_size)
        updates = problem.level_iterations * setting.epochs * batches
        return measures, inputs, updates

    def _play(self, iteration: int) -> Steps:
        """Play the episodes of an iteration, with the seeds' own random numbers."""
        policy = actor(self.stack.network)

        def logits(observations: np.ndarray) -> np.ndarray:
            inputs = torch.from_numpy(observations).to(self.device, self.dtype)
            return dense_forward(policy, inputs)[1].cpu().numpy()

        seeds = self.alive
        randoms = [generator("play", s, self.task, iteration) for s in seeds]
        offsets = np.stack([self.problem.offset(s, self.task) for s in seeds])
        return play(logits, offsets, randoms, self.problem.iteration_steps, LONGEST)

    def _examples(self, steps: Steps) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
        """Return the examples of the update, and the mean return and the episodes.

        The inputs have the shape (S, n, 4) and the targets (S, n, 4): see `ppo_loss`.
        The mean return of the episodes and their number have the shape (S,).
        """
        inputs, following = (
            torch.from_numpy(array).to(self.device, self.dtype)
            for array in (steps.observations, steps.following)
        )
        outputs, after = (
            forward(self.stack.network, x)[1] for x in (inputs, following)
        )
        actions = torch.from_numpy(steps.actions).to(self.device)
        logs = outputs[..., :-1].log_softmax(-1)
        before = logs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        rewards = np.stack(
            [
                self.problem.rewards(own, seed, self.task)
                for seed, own in zip(self.alive, steps.states[..., 0], strict=True)
            ]
        )
        values, values_after = (
            x[..., -1].double().cpu().numpy() for x in (outputs, after)
        )
        advantages, returns = advantages_and_targets(
            rewards / REWARD_SCALE, values, values_after, steps.ended, steps.last
        )
        columns = [
            actions,
            torch.from_numpy(advantages),
            before,
            torch.from_numpy(returns),
        ]
        targets = torch.stack([c.to(self.device, self.dtype) for c in columns], dim=-1)
        episodes = steps.last.sum(axis=1)
        return inputs, targets, rewards.sum(axis=1) / episodes, episodes

    def _returns(self, returns: np.ndarray, counts: np.ndarray) -> dict[str, Tensor]:
        """Return the measures of the returns of a level.

        `returns` has the mean return of each iteration's episodes and `counts` their
        number, of shape (S, iterations).
        """
        iterations = returns.shape[1]
        reached = returns >= LONGEST / 2
        waited = np.where(np.logical_or.accumulate(reached, axis=1), 0, counts)
        episodes = np.where(reached.any(axis=1), waited.sum(axis=1), np.nan)
        measures = {
            "mean_return": returns.mean(axis=1),
            "last_return": returns[:, -max(1, iterations // 10) :].mean(axis=1),
            "episodes": counts.sum(axis=1),
            "threshold_episodes": episodes,
        }
        return {
            name: torch.from_numpy(numbers.astype(float)).to(self.device)
            for name, numbers in measures.items()
        }
